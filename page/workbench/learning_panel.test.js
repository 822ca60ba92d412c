import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addedWords, reportWords } from './learning_panel.js';
import { create, withCells, withLearnt } from './review.js';

const texts = {
  learnt: '{right} of {total}, {before} before; {renamed} renamed', kept: '{base} of {date}', statistics: 'statistics: {renamed}', learn_missing: 'missing: {missing}',
  added_since: { one: '1 by {model}', many: '{count} by {model}' }, added_hint: 'drop the model',
};
const cell = id => ({ id, picture: 'jpeg', probabilities: [1, 0], status: 'ok' });
const first = { ...withCells(create('b', ''), [cell('1'), cell('2')]), model: 'm@1', labels: ['ig', 'monocyte'] };
const learnt = (report, ids = ['1', '2']) => withLearnt(first, { batch: 'b', model: 'm+8', classes: [], review_below: 0, report, cells: ids.map(id => ({ id, probabilities: [0, 1] })) });
const said = (report, language = 'en') => reportWords(learnt(report), { texts, language }, label => label.toUpperCase());

test('which model names the cells, and what it brought', () => {
  assert.equal(said({ right: 7, right_before: 5, total: 8 }), '7 of 8, 5 before; 2 renamed');
  assert.equal(said({ kind: 'kept', base: 'm', made: '2026-01-31', total: 8 }, 'es'), 'm of 31 de enero de 2026');
  assert.equal(said({ kind: 'statistics', missing: { ig: 2, monocyte: 1 } }), 'statistics: 2 missing: 2 IG, 1 MONOCYTE');
});

test('cells that were added since have the answers of the first model', () => {
  assert.deepEqual([first, learnt({})].map(review => addedWords(review, texts)), ['', '']);
  assert.equal(addedWords(learnt({}, ['1']), texts), '1 by m@1 drop the model');
  assert.equal(addedWords(learnt({ kind: 'statistics' }, []), texts), '2 by m@1'); // statistics are no file
});
