import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counted, date, filled } from './words.js';

test('values stand in the places of their names, and a place without a value stays', () => {
  assert.equal(filled('{right} of {total}, {right}; {other}', { right: 0, total: 8 }), '0 of 8, 0; {other}');
});

test('one has other words than many, and none counts as many', () => {
  const cells = { one: 'a cell of {model}', many: '{count} cells of {model}' };
  assert.deepEqual([0, 1, 2].map(count => counted(cells, count, { model: 'm' })), ['0 cells of m', 'a cell of m', '2 cells of m']);
});

test('a date in words of the language', () => {
  assert.equal(date('2026-01-31', 'en'), '31 January 2026');
  assert.equal(date('2026-01-31', 'es'), '31 de enero de 2026');
});
