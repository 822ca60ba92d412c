import assert from 'node:assert/strict';
import { test } from 'node:test';
import { action } from './keys.js';

const choices = ['basophil', 'eosinophil', 'erythroblast', 'ig', 'lymphocyte', 'monocyte', 'neutrophil', 'platelet', 'not_a_cell', 'two_cells'];
const press = (key, more = {}, typing = false, heading = false) => action({ key, ...more }, choices, typing, heading);

test('a digit decides', () => {
  assert.deepEqual(press('1'), { do: 'decide', choice: 'basophil' });
  assert.deepEqual(press('0'), { do: 'decide', choice: 'two_cells' });
  assert.equal(action({ key: '9' }, ['a'], false, false), null);
});

test('arrows move, with shift they select', () => {
  assert.deepEqual(press('ArrowRight'), { do: 'move', to: 'next', extend: undefined });
  assert.deepEqual(press('ArrowUp', { shiftKey: true }), { do: 'move', to: 'above', extend: true });
});

test('Enter confirms a cell, and on a heading its group', () => {
  assert.equal(press('Enter').do, 'confirm');
  assert.equal(press('Enter', {}, false, true).do, 'confirmGroup');
});

test('a key that is held decides once, and goes on moving', () => {
  for (const key of ['1', 'Enter', 'n', 't']) assert.equal(press(key, { repeat: true }), null);
  assert.equal(press('ArrowRight', { repeat: true }).do, 'move');
});

test('u undoes, Shift + u redoes', () => {
  assert.deepEqual([press('u').do, press('U', { shiftKey: true }).do], ['undo', 'redo']);
});

test('nothing is decided while someone types, nor by the browser\'s own keys', () => {
  assert.equal(press('1', {}, true), null);
  for (const held of ['ctrlKey', 'metaKey', 'altKey']) assert.equal(press('1', { [held]: true }), null);
  assert.equal(press('q'), null);
});
