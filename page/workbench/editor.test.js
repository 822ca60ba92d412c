import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Editor } from './editor.js';
import { create, decisions, withAnswer, withLearnt, withSteps } from './review.js';
import { Said } from './server.js';

const settings = { limits: { cells: 3 }, texts: { errors: { other_model: '{model} is {found}', batch_full: 'at most {most}' } } };
const cell = (id, more = {}) => ({ id, name: `${id}.png`, probabilities: [1, 0], status: 'ok', place: null, ...more });
const answer = (batch, ...cells) => ({ batch, model: 'm@1', second_model: '', labels: ['a', 'b'], second_labels: [], review_below: 0.9, cells });
const review = (...cells) => withAnswer(create('b', ''), answer('b', ...cells));

// An editor, what it shows, and what it gives to be kept: `stored` are the calls of a store, `heard` the cells that others lose.
function edited(opened = review(cell('1'), cell('2'))) {
  const seen = [], stored = [], heard = [], entries = [], remembered = [];
  const view = Object.fromEntries(['phase', 'clear', 'comment', 'draw', 'redraw', 'remove', 'choose', 'show', 'ensure'].map(name => [name, value => seen.push([name, value])]));
  const store = new Proxy({}, { get: (_, name) => async (...values) => { stored.push([name, ...values]); } });
  const keep = async (_, change, gone = []) => { heard.push(gone); if (!keeping.isFull) await change(store); return !keeping.isFull; };
  const keeping = {
    keepFirst: keep, keepIn: keep, remember: batch => remembered.push(batch),
    keepSteps: (...values) => entries.push(values), keepEntry: entry => entries.push(entry),
  };
  const editor = new Editor(keeping, view, settings);
  if (opened) editor.open(opened);
  seen.length = 0;
  return { editor, keeping, seen, stored, heard, entries, remembered };
}

const said = ({ review: { steps } }) => Object.fromEntries(decisions(steps));

test('a decision is kept before it is shown', () => {
  const { editor, keeping, seen } = edited();
  keeping.keepSteps = () => seen.push(['kept']);
  editor.decide(['1', '2'], 'b');
  assert.deepEqual(seen.map(([name]) => name), ['kept', 'redraw']);
  assert.deepEqual(said(editor), { 1: 'b', 2: 'b' });
});

test('of no cell of the batch nothing is decided, kept or drawn', () => {
  const { editor, seen, entries } = edited();
  editor.decide(['9'], 'b');
  editor.decideEach(new Map());
  assert.deepEqual([seen, entries, said(editor)], [[], [], {}]);
});

test('a step may have a decision of its own for each cell, and undo takes back all of it', () => {
  const { editor, entries, seen } = edited();
  editor.decideEach(new Map([['1', 'a'], ['2', 'b']]));
  assert.deepEqual(said(editor), { 1: 'a', 2: 'b' });
  editor.undo();
  assert.deepEqual(said(editor), {});
  editor.redo();
  assert.deepEqual(said(editor), { 1: 'a', 2: 'b' });
  const [first] = entries, [, steps] = first;
  assert.deepEqual(entries, [['b', steps, []], ['b', [], steps], ['b', steps, []]]);
  assert.deepEqual(seen.filter(([name]) => name === 'choose'), [['choose', '1'], ['choose', '1']]);
});

test('after a new decision nothing can be redone', () => {
  const { editor } = edited();
  editor.decide(['1'], 'a');
  assert.deepEqual([editor.canUndo(), editor.canRedo()], [true, false]);
  editor.undo();
  assert.deepEqual([editor.canUndo(), editor.canRedo()], [false, true]);
  editor.decide(['2'], 'a');
  assert.equal(editor.canRedo(), false);
});

test('cells of an answer are stored behind those before; the first of a batch needs no stored review', async () => {
  const { editor, stored, remembered, keeping } = edited(null);
  keeping.keepIn = () => assert.fail('the store does not have this batch yet');
  editor.begin();
  await editor.add(answer(editor.review.batch, cell('1')));
  assert.deepEqual(stored.map(([name]) => name), ['addCells', 'addFields']);
  assert.deepEqual(stored[0].slice(2), [[cell('1')], [], editor.review]);
  assert.deepEqual(remembered, ['', editor.review.batch]);
});

test('cells of another model and more cells than a batch may have are refused in words, and change nothing', async () => {
  const { editor, stored } = edited(), before = editor.review;
  for (const [refused, words] of [[{ ...answer('b', cell('3')), model: 'm@2' }, 'm@1 is m@2'], [answer('b', cell('3'), cell('4')), 'at most 3']]) {
    await assert.rejects(editor.add(refused), error => error instanceof Said && error.message === words);
  }
  assert.equal(editor.review, before);
  assert.deepEqual(stored, []);
});

test('an answer about another batch adds, stores and draws nothing, nor does any where no batch is open', async () => {
  const { editor, seen, stored } = edited(), before = editor.review;
  await editor.add({ ...answer('another', cell('3')), fields: { 1: { picture: 'of another' } } }, ['1']);
  assert.deepEqual([editor.review, seen, stored], [before, [], []]);
  editor.close();
  await editor.add(answer('b', cell('3')));
  assert.deepEqual([editor.review, stored], [null, []]);
});

test('cells that go take their decisions with them, and other tabs hear of it', async () => {
  const { editor, seen, heard } = edited();
  editor.decide(['1'], 'a');
  editor.decide(['2'], 'b');
  await editor.add(answer('b', cell('1.1')), ['1']);
  assert.deepEqual(editor.review.cells.map(each => each.id), ['2', '1.1']);
  assert.deepEqual([heard, said(editor)], [[['1']], { 2: 'b' }]);
  assert.deepEqual(seen.find(([name]) => name === 'remove'), ['remove', ['1']]);
});

test('after a drawn cell, and after cells that go though nobody decided them, nothing can be redone', async () => {
  const place = { number: 1, of: 1, box: [0, 0, 9, 9], found: 0 }, { editor } = edited();
  const taken = () => { editor.decide(['2'], 'b'); editor.undo(); assert.equal(editor.canRedo(), true); };
  taken();
  await editor.addDrawn(answer('b', cell('1.2', { source: '1', place })), 't');
  assert.equal(editor.canRedo(), false);
  taken();
  editor.forget(['1']);
  assert.equal(editor.canRedo(), false);
});

test('a step never gets the number of one that went with its cell: undo takes back what was done last', async () => {
  const place = { number: 1, of: 1, box: [0, 0, 9, 9], found: 0 }, { editor } = edited(review(cell('1', { source: '1' })));
  editor.decide(['1'], 'a');
  await editor.addDrawn(answer('b', cell('2.1', { source: '2', place })), 't');
  await editor.add(answer('b', cell('1.1', { source: '1', place })), ['1']); // its decision goes
  editor.decide(['2.1'], 'b');
  editor.undo();
  assert.deepEqual([editor.review.cells.length, said(editor)], [2, {}]);
  editor.redo();
  assert.deepEqual(said(editor), { '2.1': 'b' });
});

test('undo takes back drawn cells, shows another one of their field, and redo brings them again', async () => {
  const place = { number: 1, of: 1, box: [0, 0, 9, 9], found: 0 }, { editor, seen, heard } = edited(review(cell('1', { source: '1' })));
  await editor.addDrawn(answer('b', cell('1.2', { source: '1', place })), 't');
  editor.undo();
  assert.deepEqual(editor.review.cells.map(each => each.id), ['1']);
  assert.deepEqual([heard.at(-1), seen.at(-1)], [['1.2'], ['show', '1']]);
  await editor.redo();
  assert.deepEqual(editor.review.cells.map(each => each.id), ['1', '1.2']);
  assert.deepEqual(seen.at(-1), ['show', '1.2']);
});

test('undo takes back what was learnt, unless a decision came after it', async () => {
  const learnt = each => withLearnt(each, { batch: 'b', model: 'm+1', classes: [], review_below: 0.5, report: {}, cells: [{ id: '1', probabilities: [0, 1] }] });
  const { editor, stored } = edited(), file = new File([''], 'm.zip');
  await editor.rename(learnt(editor.review), file);
  assert.deepEqual([editor.model, stored.map(([name]) => name)], [{ batch: 'b', file }, ['saveAnswers']]);
  editor.decide(['1'], 'a');
  editor.undo();
  assert.deepEqual([said(editor), editor.review.model], [{}, 'm+1']);
  await editor.undo();
  assert.deepEqual([editor.review.model, editor.review.cells[0].probabilities, editor.model], ['m@1', [1, 0], null]);
});

// What a model that learnt says of the first cell.
const learntOf = each => withLearnt(each, { batch: 'b', model: 'm+1', classes: [], review_below: 0.5, report: {}, cells: [{ id: '1', probabilities: [0, 1] }] });
const place = { number: 2, of: 2, box: [0, 0, 9, 9], found: 0 };

test('what is undone is what was done last: a decision, a box, what was learnt', async () => {
  const { editor } = edited(review(cell('1', { source: '1' })));
  editor.decide(['1'], 'b');
  await editor.addDrawn(answer('b', cell('1.2', { source: '1', place })), 't');
  editor.undo();
  await editor.rename(learntOf(editor.review), null);
  await editor.addDrawn(answer('b', cell('1.3', { source: '1', place })), 't');
  const state = () => [editor.review.cells.map(({ id }) => id).join(), editor.review.model, said(editor)];
  assert.deepEqual(state(), ['1,1.3', 'm+1', { 1: 'b' }]);
  for (const [ids, model, decided] of [['1', 'm+1', { 1: 'b' }], ['1', 'm@1', { 1: 'b' }], ['1', 'm@1', {}]]) {
    editor.undo();
    assert.deepEqual(state(), [ids, model, decided]);
  }
});

test('what was learnt after a box goes before the box', async () => {
  const { editor } = edited(review(cell('1', { source: '1' })));
  await editor.addDrawn(answer('b', cell('1.2', { source: '1', place })), 't');
  await editor.rename(learntOf(editor.review), null);
  editor.undo();
  assert.deepEqual([editor.review.model, editor.review.cells.length], ['m@1', 2]);
  editor.undo();
  assert.equal(editor.review.cells.length, 1);
});

test('answers that the store refused hold here, and are stored with the next cells', async () => {
  const { editor, keeping, stored } = edited(review(cell('1'))), file = new File([''], 'm.zip'), names = () => stored.splice(0).map(([name]) => name);
  keeping.isFull = true;
  await editor.rename(learntOf(editor.review), file);
  const { cells, fields, ...head } = review(cell('1'));
  keeping.read = (_, use) => use(head, [], {}, null);
  await editor.refresh({ batch: 'b' }); // another tab decided something
  assert.deepEqual([editor.review.model, editor.review.cells[0].probabilities, editor.model.file], ['m+1', [0, 1], file]);
  keeping.isFull = false;
  await editor.add(answer('b', cell('2')));
  assert.deepEqual([stored[0].slice(1), names()], [[editor.review, file], ['saveAnswers', 'addCells', 'addFields']]);
  await editor.add(answer('b', cell('3')));
  assert.deepEqual(names(), ['addCells', 'addFields']);
});

test('the file of a picture in a ZIP is not that of the picture', () => {
  const { editor } = edited();
  editor.sources.set('1', { file: 'a file' }).set('2', { file: 'a zip', entry: 0 });
  assert.deepEqual(['1', '2', '3'].map(picture => editor.fileOf(picture)), ['a file', undefined, undefined]);
});

test('another batch has none of the files, steps back or models of the one before', () => {
  const { editor, seen, remembered } = edited();
  editor.sources.set('1', { file: 'a file' });
  editor.decide(['1'], 'a');
  editor.undo();
  editor.open(editor.review, 'a model');
  assert.equal(editor.sources.size, 1); // the same batch: its files are still of its pictures
  editor.open({ ...review(cell('1')), batch: 'c', comment: 'slide 3' });
  assert.deepEqual([editor.sources.size, editor.canRedo(), editor.model, editor.phase], [0, false, null, 'review']);
  assert.deepEqual(seen.filter(([name]) => name === 'clear').at(-1), ['clear', 'slide 3']);
  editor.close();
  assert.deepEqual([editor.review, editor.phase, remembered], [null, 'empty', ['b', 'b', 'c', '']]);
});

// An editor to which another tab's change is read when `use` is called.
function refreshed(message, opened) {
  const made = edited(opened);
  made.keeping.read = (_, use) => { made.use = use; };
  made.editor.refresh(message);
  return made;
}

test('what another tab decided holds here, and is drawn only where it is new', () => {
  const { editor, seen, use } = refreshed({ batch: 'b' });
  const { cells, fields, ...head } = editor.review;
  use(head, [], {}, null);
  assert.deepEqual(seen, [['comment', ''], ['ensure', undefined]]);
  use({ ...head, steps: [{ cell: '1', number: 1, decision: 'b', time: 't' }], comment: 'read' }, [cell('3')], { 3: {} }, null);
  assert.deepEqual([said(editor), editor.review.comment, editor.review.cells.length], [{ 1: 'b' }, 'read', 3]);
  assert.deepEqual(seen.filter(([name]) => name === 'draw').length, 1);
});

test('what another tab decided since is not overwritten by redo; a comment takes no redo away, whatever the order of the steps', () => {
  const { editor, use } = refreshed({ batch: 'b' });
  editor.decide(['2', '1'], 'a');
  editor.decide(['1'], 'b');
  editor.undo();
  const { cells, fields, ...head } = editor.review;
  use({ ...head, steps: head.steps.toReversed(), comment: 'read' }, [], {}, null);
  assert.equal(editor.canRedo(), true);
  use({ ...head, steps: [...head.steps, { cell: '1', number: 2, decision: 'a', time: 't' }] }, [], {}, null);
  editor.redo();
  assert.deepEqual([editor.canRedo(), said(editor)], [false, { 1: 'a', 2: 'a' }]);
});

test('answers of a model that learnt in another tab come with its name and its file, and go as they came', () => {
  const { editor, use } = refreshed({ batch: 'b' }), { cells, fields, ...head } = editor.review;
  const learnt = withLearnt(editor.review, { batch: 'b', model: 'm+1', classes: [], review_below: 0.5, report: {}, cells: [{ id: '1', probabilities: [0, 1] }] });
  editor.review = { ...editor.review, cells: [...cells, cell('here alone')] };
  use({ ...learnt, cells: [], fields: {} }, learnt.cells, {}, 'a file');
  assert.deepEqual([editor.review.model, editor.review.cells.map(each => each.probabilities[1]), editor.model], ['m+1', [1, 0, 0], { batch: 'b', file: 'a file' }]);
  use(head, cells, {}, null);
  assert.deepEqual([editor.review.model, editor.review.before, editor.review.cells.map(each => each.probabilities[1]), editor.model], ['m@1', undefined, [0, 0, 0], null]);
});

test('cells that another tab took away go at once, with their steps', () => {
  const steps = [{ cell: '1', number: 1, decision: 'b', time: 't' }];
  const { editor, seen } = refreshed({ batch: 'b', gone: ['1'] }, withSteps(review(cell('1'), cell('2')), steps));
  assert.deepEqual([editor.review.cells.map(each => each.id), said(editor), seen], [['2'], {}, [['remove', ['1']]]]);
});

test('a change of another batch is none here, neither before it is read nor after', () => {
  const foreign = refreshed({ batch: 'c', gone: ['1'] });
  assert.deepEqual([foreign.use, foreign.editor.review.cells.length], [undefined, 2]);
  const { editor, use } = refreshed({ batch: 'b' });
  editor.open({ ...review(cell('1')), batch: 'c' });
  use({ steps: [{ cell: '1', number: 1, decision: 'b', time: 't' }], comment: 'of b' }, [], {}, null);
  assert.deepEqual([said(editor), editor.review.comment], [{}, '']);
});
