import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filterCounts, filterOf } from './filters.js';
import { Reading, create, nextSteps, withCells, withSteps } from './review.js';

const cell = (id, status = 'ok', probabilities = [1, 0]) => ({ id, status, probabilities });
const open = { ...withCells(create('b', ''), [cell('1'), cell('2', 'review'), cell('3', 'unfamiliar'), cell('4', 'error', null)]), labels: ['ig', 'monocyte'] };
const decide = (review, id, decision) => withSteps(review, nextSteps(review, [id], decision, 't'));
const names = ['all', 'review', 'unfamiliar', 'undecided', 'changed', 'label'];

function shown(review, filter) {
  const reading = new Reading(review);
  return review.cells.filter(each => filter(each, reading)).map(each => each.id);
}

test('each filter shows its cells', () => {
  const review = decide(decide(open, '1', 'monocyte'), '2', 'ig');
  const found = Object.fromEntries(names.map(name => [name, shown(review, filterOf(name, review))]));
  assert.deepEqual(found, { all: ['1', '2', '3', '4'], review: [], unfamiliar: ['3'], undecided: ['3', '4'], changed: ['1'], label: ['3'] });
});

test('cells to label stay while they are decided; others go by what is decided meanwhile', () => {
  const label = filterOf('label', open), undecided = filterOf('undecided', open), after = decide(open, '1', 'monocyte');
  assert.deepEqual(shown(open, label), ['1', '2', '3']);
  assert.deepEqual([shown(after, label), shown(after, undecided)], [['1', '2', '3'], ['2', '3', '4']]);
});

test('a filter says how many cells it finds', () => {
  const review = decide(open, '1', 'monocyte'), counts = filterCounts(new Reading(review).summary(), review);
  for (const each of [review, decide(review, '3', 'ig')]) {
    for (const [name, count] of Object.entries(filterCounts(new Reading(each).summary(), each))) assert.equal(shown(each, filterOf(name, each)).length, count, name);
  }
  assert.deepEqual(counts, { all: 4, review: 1, unfamiliar: 1, changed: 1, undecided: 3, label: 2 });
});
