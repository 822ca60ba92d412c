import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Annotation, outcome } from './annotation.js';
import { create, decisions, nextSteps, withCells, withSteps } from './review.js';
import { Server } from './server.js';

const many = words => ({ one: words, many: `${words}s` });
const parts = Object.fromEntries(['decided', 'added', 'same', 'left'].map(part => [part, many(`{count} ${part}`)]));
const texts = {
  coco_read: many('{count} box'), coco_outside: many('{count} outside'), coco_absent: many('{count} absent'),
  coco_parts: { ...parts, unknown: many('{count} unknown ({names})'), failed: many('{count} failed ({why})') },
};
const nothing = { decided: [], added: 0, same: 0, left: 0, unknown: [], failed: 0, why: '', outside: 0, absent: 0 };

test('what came of the boxes of a file: what there is none of is left out, and each unknown category is named once', () => {
  assert.equal(outcome(nothing, texts), '0 boxs.');
  const found = { ...nothing, decided: ['1', '2'], added: 1, unknown: ['red', 'red', 'blue'], failed: 1, why: 'busy', outside: 2 };
  assert.equal(outcome(found, texts), '7 boxs: 2 decideds, 1 added, 3 unknown (red, blue)s, 1 failed (busy); 2 outsides.');
});

const settings = { language: 'en', texts: { ...texts, errors: { server_gone: 'gone', single_by_now: 'single' }, choice: {}, coco_waits: '{name} waits', coco_adding: { one: 'adding 1', many: 'adding {count}' } } };
const HERE = [0, 0, 90, 90], THERE = [500, 500, 600, 600], ELSEWHERE = [800, 100, 900, 200];
const cell = (id, number, box, more = {}) => ({ id, source: '1', name: 'a.png', probabilities: [1, 0], status: 'ok', place: { number, of: 2, box, found: 0.9 }, ...more });
const open = { ...withCells(create('b', ''), [cell('1.1', 1, HERE)]), model: 'm@1', labels: ['ig', 'monocyte'], fields: { 1: { picture: 'small', width: 1000, height: 800 } } };
const decide = (review, ids, decision) => withSteps(review, nextSteps(review, ids, decision, 't'));
const file = (...boxes) => ({ name: 'boxes.json', images: [{ name: 'a.png', width: 1000, height: 800, boxes: boxes.map(([box, category]) => ({ box, category })) }] });

// Boxes for this review, whose server makes a cell of each, or does what `add_cell` does. `events` are what follows.
function annotating(add_cell = () => {}, upload = async () => ({ path: 'path' })) {
  const asked = [], said = [], events = [];
  const answered = async values => { asked.push(values); return await add_cell(values) ?? { cells: [cell(values.id, values.number, values.box)] }; };
  const server = new Server({ add_cell: answered }, upload, settings, words => said.push(words));
  const editor = {
    review: open, phase: 'review', files: new Map(), fileOf(picture) { return this.files.get(picture); },
    async addDrawn({ cells }, time) { this.review = withCells(this.review, cells.map(each => ({ ...each, time }))); },
    decideEach(decided) { for (const [id, decision] of decided) this.review = decide(this.review, [id], decision); },
  };
  const on = { say: words => said.push(words), error: () => events.error ?? '', selected: () => events.at ?? '1.1', added: id => events.push(['added', id]), ended: () => events.push('ended') };
  return { annotation: new Annotation(settings, server, editor, () => [{ label: 'ig', name: 'granulocito', type: 'ig' }], on), editor, asked, said, events };
}

const decided = ({ review: { cells, steps } }) => cells.map(({ id, place: { number } }) => [number, decisions(steps).get(id)]);

test('a drawn box becomes the next cell of its field, from the file of the field where it is still here', async () => {
  const { annotation, editor, asked, events } = annotating();
  await annotation.addCell('1', THERE);
  editor.files.set('1', 'a file');
  await annotation.addCell('1', ELSEWHERE);
  assert.deepEqual(asked.map(({ number, picture, path }) => [number, picture, path]), [[2, 'small', undefined], [3, undefined, 'path']]);
  assert.deepEqual(asked.map(({ batch, model, name, size }) => [batch, model, name, size])[0], ['b', 'm', 'a.png', [1000, 800]]);
  assert.deepEqual(events, [['added', asked[0].id], 'ended', ['added', asked[1].id], 'ended']);
});

test('a person who went on to another cell stays there when the answer to a drawn box comes', async () => {
  const { annotation, editor, events } = annotating(() => { events.at = '2'; });
  await annotation.addCell('1', THERE);
  assert.deepEqual([editor.review.cells.length, events.length, events[0]], [2, 1, 'ended']);
});

test('a box that the server refuses is said, and no cell comes', async () => {
  const { annotation, editor, said, events } = annotating(() => ({ error: { text: 'too small' } }));
  await annotation.addCell('1', THERE);
  assert.deepEqual([editor.review, said, events], [open, ['adding 1', 'too small'], ['ended']]);
});

test('a drawn box says that it is under way, is sent again to a busy server, and says whether its cell came', async context => {
  context.mock.method(globalThis, 'setTimeout', done => queueMicrotask(done));
  const failures = [{ error: { code: 'busy', text: 'busy' } }, { error: { code: 'busy', text: 'busy' } }];
  const { annotation, editor, asked, said } = annotating(() => { said.push(annotation.adding); return failures.shift(); });
  assert.equal(await annotation.addCell('1', THERE), true);
  assert.deepEqual([asked.length, said, annotation.adding, editor.review.cells.length], [3, ['adding 1', 1, 1, 1, ''], 0, 2]);
  const failing = annotating(() => ({ error: { code: 'box_too_large', text: 'too large' } }));
  assert.equal(await failing.annotation.addCell('1', THERE), false);
  const closed = annotating(() => { closed.editor.review = null; return { error: { code: 'busy', text: 'busy' } }; });
  assert.equal(await closed.annotation.addCell('1', THERE), true);
  assert.deepEqual([closed.asked.length, closed.said], [1, ['adding 1']]);
  const other = annotating(() => ({ error: { code: 'busy', text: 'busy' } })), done = other.annotation.addCell('1', THERE);
  await null;
  context.mock.method(globalThis, 'setTimeout', end => { other.editor.review = { ...open, batch: 'c' }; queueMicrotask(end); });
  assert.deepEqual([await done, other.asked.length, other.editor.review.cells.length], [true, 1, 1]); // another batch opens while the page waits
});

test('a cell whose answer comes when another batch is open is none of its cells', async () => {
  const { annotation, editor, events } = annotating(() => { editor.review = { ...open, batch: 'c' }; });
  await annotation.addCell('1', THERE);
  assert.deepEqual([editor.review.cells.length, events], [1, [['added', null], 'ended']]);
});

test('a box whose picture was taken as a single cell meanwhile becomes no cell, and that is said', async () => {
  const single = { ...open, cells: [{ ...open.cells[0], id: '1', place: null }] };
  const { annotation, editor, said } = annotating(() => { editor.review = single; });
  await annotation.addCell('1', THERE);
  assert.deepEqual([editor.review, said], [single, ['adding 1', 'single']]);
  editor.review = open;
  await annotation.take([file([THERE, 'ig'])]);
  assert.deepEqual([editor.review, said.at(-1)], [single, '1 box: 1 failed (single); 1 absent.']);
});

test('boxes of found cells decide them, the others become cells, and then all are decided', async () => {
  const { annotation, editor, said, events } = annotating();
  await annotation.take([file([HERE, 'monocyte'], [THERE, 'granulocito'])]);
  assert.deepEqual(decided(editor), [[1, 'monocyte'], [2, 'ig']]);
  assert.deepEqual([said.at(-1), events], ['2 boxs: 1 decided, 1 added.', ['ended']]);
});

test('what a person decides while the boxes of a file are read stands', async () => {
  const { annotation, editor } = annotating(({ box }) => { if (box[0] === 800) editor.review = decide(editor.review, [editor.review.cells[1].id, '1.1'], 'monocyte'); });
  await annotation.take([file([HERE, 'ig'], [THERE, 'ig'], [ELSEWHERE, 'ig'])]);
  assert.deepEqual(decided(editor), [[1, 'monocyte'], [2, 'monocyte'], [3, 'ig']]);
});

test('a box that fails stops no other, and each failure is counted', async () => {
  const { annotation, editor, said } = annotating(({ box }) => (box[0] === 500 ? { error: { text: 'busy' } } : null));
  await annotation.take([file([THERE, 'ig'], [ELSEWHERE, 'ig'])]);
  assert.deepEqual([decided(editor), said.at(-1)], [[[1, undefined], [2, 'ig']], '2 boxs: 1 added, 1 failed (busy); 1 absent.']);
});

test('files that are dropped while another one is read have their turn', async () => {
  let answer;
  const { annotation, editor, asked, events } = annotating(() => new Promise(resolve => { answer = () => resolve(null); }));
  const first = annotation.take([file([THERE, 'ig'])]);
  await new Promise(setImmediate);
  await annotation.take([file([HERE, 'monocyte'])]);
  assert.deepEqual([decided(editor), events], [[[1, undefined]], []]);
  answer();
  await first;
  assert.deepEqual([decided(editor), asked.length, events], [[[1, 'monocyte'], [2, 'ig']], 1, ['ended']]);
});

test('another batch that is opened meanwhile gets no box, no decision and no word of it', async () => {
  const { annotation, editor, said } = annotating(() => { editor.review = { ...open, batch: 'c' }; });
  await annotation.take([file([THERE, 'ig'], [ELSEWHERE, 'ig'])]);
  assert.deepEqual([editor.review, said], [{ ...open, batch: 'c' }, ['adding 2']]);
});

test('boxes of the next batch wait for no answer about the one before', async () => {
  const answers = [], { annotation, editor, said, events } = annotating(() => new Promise(resolve => answers.push(resolve)));
  const first = annotation.take([file([THERE, 'ig'])]);
  await new Promise(setImmediate);
  annotation.drop();
  editor.review = { ...open, batch: 'c' };
  const second = annotation.take([file([ELSEWHERE, 'ig'])]);
  await new Promise(setImmediate);
  answers[0](null);
  await first;
  assert.deepEqual([answers.length, annotation.isReading, events], [2, true, []]);
  answers[1](null);
  await second;
  assert.deepEqual([said.at(-1), events, annotation.isReading], ['1 box: 1 added; 1 absent.', ['ended'], false]);
});

test('boxes wait until nothing is classified any more, and what went wrong goes on being said', async () => {
  const { annotation, editor, said, events } = annotating();
  editor.phase = 'classifying';
  await annotation.take([file([HERE, 'ig'])]);
  assert.deepEqual([said, decided(editor)], [['boxes.json waits'], [[1, undefined]]]);
  editor.phase = 'review';
  events.error = 'a picture failed';
  await annotation.readBoxes();
  assert.deepEqual([said.at(-1), decided(editor)], ['a picture failed 1 box: 1 decided.', [[1, 'ig']]]);
  annotation.waiting.push(file([HERE, 'monocyte']).images);
  annotation.drop();
  await annotation.readBoxes();
  assert.deepEqual(decided(editor), [[1, 'ig']]);
});
