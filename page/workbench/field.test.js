import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boxOf, moved, showing, whole, zoomed } from './field.js';

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
