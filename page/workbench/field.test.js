import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Field, boxOf, moved, showing, whole, zoomed } from './field.js';

const field = { width: 1000, height: 800 };

test('a zoom keeps the point under the pointer, and ends at the whole field and at single pixels', () => {
  const near = zoomed(whole(field), 2, { x: 500, y: 400 }, field);
  assert.deepEqual(near, { x: 250, y: 200, width: 500, height: 400 });
  const corner = zoomed(whole(field), 2, { x: 1000, y: 0 }, field);
  assert.deepEqual([corner.x, corner.y], [500, 0]);
  assert.deepEqual(zoomed(near, 0.1, { x: 0, y: 0 }, field), whole(field));
  assert.equal(zoomed(near, 1e9, { x: 500, y: 400 }, field).width, 1000 / 16);
});

test('nothing beyond the edges of a field is seen', () => {
  const near = { x: 250, y: 200, width: 500, height: 400 };
  assert.deepEqual(moved(near, -9999, 10, field), { ...near, x: 0, y: 210 });
  assert.deepEqual(moved(near, 9999, 9999, field), { ...near, x: 500, y: 400 });
  assert.deepEqual(moved(whole(field), 50, 50, field), whole(field));
});

test('a selected cell comes into view, and one that is seen moves nothing', () => {
  const near = { x: 0, y: 0, width: 500, height: 400 };
  assert.equal(showing(near, [10, 10, 60, 60], field), near);
  assert.deepEqual(showing(near, [700, 500, 800, 600], field), { ...near, x: 500, y: 350 });
});

test('a box is drawn in any direction and stays within its field', () => {
  assert.deepEqual(boxOf({ x: 90.4, y: 80 }, { x: 20, y: 30.6 }, field), [20, 31, 90, 80]);
  assert.deepEqual(boxOf({ x: -5, y: 700 }, { x: 2000, y: 900 }, field), [0, 700, 1000, 800]);
});

test('a drawn box stays in sight until its cell comes, and where it fails until the next is drawn', async () => {
  globalThis.document = { createElementNS: () => ({ setAttribute(key, value) { this[key] = value; } }) };
  const answers = [], made = Object.assign(Object.create(Field.prototype), {
    picture: '1', sent: [], on: { add: () => new Promise(resolve => answers.push(resolve)) }, pending: { replaceChildren(...all) { this.shown = all.map(({ x }) => x); } },
  });
  const all = [made.send('1', [1, 1, 9, 9]), made.send('2', [2, 2, 9, 9]), made.send('1', [3, 3, 9, 9])];
  assert.deepEqual(made.pending.shown, [1, 3]); // of the field that is shown
  answers[0](true);
  answers[1](true);
  answers[2](false);
  await Promise.all(all);
  assert.deepEqual(made.pending.shown, [3]);
  made.send('1', [4, 4, 9, 9]);
  assert.deepEqual(made.pending.shown, [4]);
  made.clear();
  made.showSent();
  assert.deepEqual(made.pending.shown, []);
});
