import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Reading, create, nextSteps, withCells, withSteps } from './review.js';
import { blastWords, decidedWords, takenWords } from './summary.js';

const words = (one, many) => ({ one, many: `{count} ${many}` });
const texts = {
  taken_fields: words('1 field with {cells}', 'fields with {cells}'), taken_cells: words('1 cell', 'cells'), taken_single: words('1 picture', 'pictures'), status: { error: 'unreadable' },
  blasts: words('1 may be a blast', 'may be blasts'), blasts_decided: words('1 blast', 'blasts'),
};

test('how the pictures were taken', () => {
  const inField = id => ({ id, source: 'f', status: 'ok', place: { number: 1 } }), single = id => ({ id, status: 'ok', place: null });
  const taken = (...cells) => takenWords(withCells(create('b', ''), cells), texts);
  assert.equal(taken(inField('1'), inField('2'), single('3'), { ...single('4'), status: 'error' }), '1 field with 2 cells, 1 picture, 1 unreadable');
  assert.equal(taken(single('1'), single('2')), '2 pictures');
  assert.equal(taken({ ...single('1'), status: 'empty' }), '1 field with 0 cells');
});

test('what stands after a step is said of one cell by its name, of several by their number', () => {
  const cells = ['1', '2'].map(id => ({ id, name: `${id}.png`, place: null })), plain = withCells(create('b', ''), cells);
  const said = (review, some) => decidedWords(some, new Reading(review), { ...texts, by_person: 'a person', filter: { undecided: 'open' } }, label => label.toUpperCase());
  const decided = withSteps(plain, nextSteps(plain, ['1', '2'], 'ig', 't'));
  assert.deepEqual([said(decided, cells), said(decided, cells.slice(1)), said(plain, cells.slice(1))], ['2 cells: a person: IG', '2.png: a person: IG', '2.png: open']);
});

test('of no blast nothing is said', () => {
  assert.deepEqual([[0, 0], [2, 0], [1, 1], [0, 3]].map(([suspected, decided]) => blastWords({ suspected, decided }, texts)), ['', '2 may be blasts', '1 may be a blast. 1 blast', '3 blasts']);
});
