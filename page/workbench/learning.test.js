import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Learning } from './learning.js';
import { create, withCells } from './review.js';
import { Server } from './server.js';

const settings = { language: 'en', texts: { errors: { server_gone: 'gone' }, kept_waiting: '{base}, {total}, {date}' } };
const cell = (id, more = {}) => ({ id, name: id, picture: 'jpeg', probabilities: [1, 0], status: 'ok', ...more });
const open = { ...withCells(create('b', ''), [cell('1'), cell('2')]), model: 'm@1', labels: ['ig', 'monocyte'] };
const settled = async () => { for (let turn = 0; turn < 50; turn += 1) await null; };

// What another model says: its name, and that every cell is a monocyte.
const named = (model, extra = {}) => ({ batch, cells }) => ({ batch, model, classes: [], review_below: 0, report: { base: 'm', made: '2026-01-31', total: 8 }, cells: cells.map(({ id }) => ({ id, probabilities: [0, 1] })), ...extra });

// Other models for this review, whose server answers by `functions`. `asked` are the cells of each question.
function learning(functions, { review = open, phase = 'review', upload = async file => ({ path: `path of ${file.name ?? file}` }) } = {}) {
  const asked = [], said = [], events = [];
  const noted = Object.fromEntries(Object.entries(functions).map(([name, answer]) => [name, async values => { asked.push([name, values.cells.map(each => each.id)]); return answer(values); }]));
  const editor = { review, phase, model: null, async rename(head, file) { this.review = head; this.model = file && { batch: head.batch, file }; } };
  const on = { say: words => said.push(words), changed: () => events.push(made.under), reading: is => events.push(['reading', is]), chosen: (...values) => events.push(['chosen', ...values]) };
  const made = new Learning(settings, new Server(noted, upload, settings, on.say), editor, on);
  return { learning: made, editor, asked, said, events };
}

test('a model that learnt names the cells, and is kept as a file', async () => {
  const { learning: made, editor, events } = learning({ learn: named('m+8@1', { folder: btoa('zip') }) });
  await made.learn();
  assert.deepEqual([editor.review.model, editor.model.file.name, await editor.model.file.text(), events], ['m+8@1', 'm-adapted.zip', 'zip', ['learning']]);
});

test('where nothing is learnt the answers stay, and a person reads why', async () => {
  const { learning: made, editor, said, events } = learning({ learn: () => ({ error: { text: 'too few' } }) });
  await made.learn();
  assert.deepEqual([editor.review, said.at(-1), events], [open, 'too few', ['learning', '']]);
});

test('an answer that comes when another batch is open, or none, changes nothing', async () => {
  for (const next of [{ ...open, batch: 'c' }, null]) {
    const { learning: made, editor } = learning({ name_by_statistics: values => { editor.review = next; if (!next) editor.phase = 'empty'; return named('s')(values); } });
    await made.nameByStatistics();
    assert.equal(editor.review, next);
  }
});

test('a kept model names the open batch at once, and what is added to it later', async () => {
  const { learning: made, editor, asked } = learning({ name_by_kept: named('kept@1') });
  await made.take('k.zip', false);
  await settled();
  assert.deepEqual([editor.review.model, editor.model], ['kept@1', { batch: 'b', file: 'k.zip' }]);
  editor.review = withCells(editor.review, [cell('3')]);
  await made.nameRest();
  await made.nameRest();
  assert.deepEqual(asked, [['name_by_kept', ['1', '2']], ['name_by_kept', ['3']]]);
});

test('a kept model that comes with pictures waits for their cells', async () => {
  const { learning: made, editor, asked } = learning({ name_by_kept: named('kept@1') });
  editor.phase = 'classifying';
  await made.take('k.zip', true);
  await made.nameRest();
  assert.deepEqual(asked, []);
  editor.phase = 'review';
  await made.nameRest();
  assert.equal(asked.length, 1);
});

test('a model that fails is not asked again by itself, neither for all cells nor for those that were added', async () => {
  const { learning: made, editor, asked } = learning({ name_by_kept: values => (values.cells.length > 1 ? named('kept@1')(values) : null) });
  await made.take('k.zip', false);
  await settled();
  editor.review = withCells(editor.review, [cell('3')]);
  await made.nameRest();
  await settled();
  assert.equal(asked.length, 2);
  const failing = learning({ name_by_kept: () => null });
  await failing.learning.take('k.zip', false);
  await settled();
  await failing.learning.nameRest();
  assert.equal(failing.asked.length, 1);
});

test('while a model is under way no other is asked, and what was added meanwhile follows', async () => {
  const answers = [], { learning: made, editor, asked } = learning({ name_by_kept: values => new Promise(resolve => answers.push(() => resolve(named('kept@1')(values)))) });
  made.take('k.zip', false);
  await settled();
  made.take('l.zip', false);
  await settled();
  assert.equal(asked.length, 1);
  editor.review = withCells(editor.review, [cell('3')]);
  answers[0]();
  await settled();
  answers[1]();
  await settled();
  assert.deepEqual([asked, editor.model.file], [[['name_by_kept', ['1', '2']], ['name_by_kept', ['1', '2', '3']]], 'l.zip']);
});

test('the next batch waits for no model of the one before, whose answer changes nothing there', async () => {
  const answers = [], { learning: made, editor } = learning({ name_by_statistics: values => new Promise(resolve => answers.push(() => resolve(named('s')(values)))) });
  const first = made.nameByStatistics();
  made.drop();
  assert.equal(made.under, '');
  editor.review = { ...open, batch: 'c' };
  const second = made.nameByStatistics();
  answers[0]();
  await first;
  assert.deepEqual([made.under, editor.review.model], ['naming', 'm@1']);
  answers[1]();
  await second;
  assert.deepEqual([made.under, editor.review.model], ['', 's']);
});

test('the answer of a model that was taken back meanwhile is dropped', async () => {
  const { learning: made, editor } = learning({ name_by_kept: values => { if (values.cells.length === 1) Object.assign(editor, { review: before, model: null }); return named('kept@1')(values); } });
  await made.take('k.zip', false);
  await settled();
  const before = editor.review = withCells(editor.review, [cell('3')]);
  await made.nameRest();
  assert.deepEqual([editor.review, editor.model], [before, null]);
});

test('before anything is classified a kept model is read, and waits; one that cannot be read does not', async () => {
  const { learning: made, events } = learning({ name_by_kept: named('kept@1') }, { review: null, phase: 'empty' });
  await made.take('k.zip', false);
  assert.deepEqual([made.kept, events], ['k.zip', [['reading', true], ['reading', false], ['chosen', 'm, 8, 31 January 2026', 'm']]]);
  made.drop();
  assert.deepEqual([made.kept, events.at(-1)], [null, ['chosen', '']]);
  const broken = learning({ name_by_kept: named('kept@1') }, { review: null, phase: 'empty', upload: async () => { throw new Error('network'); } });
  await broken.learning.take('k.zip', false);
  assert.deepEqual([broken.learning.kept, broken.said.at(-1)], [null, 'gone']);
});
