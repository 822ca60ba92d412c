import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decisions } from './decisions.js';
import { Reading, create, nextSteps, withCells, withSteps } from './review.js';

const cell = (id, probabilities, more = {}) => ({ id, probabilities, status: 'ok', ...more });
const four = [cell('1', [1, 0]), cell('2', [0, 1]), cell('3', [1, 0], { blast: true }), cell('4', null, { status: 'error' })];

// Decisions about what is selected of these four; `done` is what was decided and where a person came to stand.
function about(selected, decided = [], hidden = null) {
  const whole = { ...withCells(create('b', ''), four), labels: ['ig', 'monocyte'] }, done = [];
  const review = withSteps(whole, nextSteps(whole, decided, 'monocyte', 't'));
  const heading = name => ({ dataset: { heading: name }, focus: () => done.push(['focus', name]) });
  const gallery = {
    order: ['ig', 'monocyte'], cells: new Map(four.map(({ id }) => [id, { hidden: id === hidden }])), reading: each => new Reading(each), headings: () => ['ig', 'monocyte', 'error'].map(heading),
    sections: new Map([['ig', false], ['monocyte', false], ['error', true]].map(([name, hidden]) => [name, { confirm: { hidden } }])),
  };
  const selection = { selected: () => selected, following: ids => `after ${ids.at(-1)}`, choose: id => done.push(['choose', id]) };
  const editor = { review, decide: (ids, choice) => done.push([choice, ids]), decideEach: each => done.push(['each', Object.fromEntries(each)]) };
  return { decisions: new Decisions(gallery, selection, editor), done };
}

test('a choice is for all that is selected; then the next cell comes', () => {
  const { decisions, done } = about(['1', '2']);
  decisions.decide('two_cells');
  assert.deepEqual(done, [['two_cells', ['1', '2']], ['choose', 'after 2']]);
});

test('where nothing is selected nothing is decided, and a person goes nowhere', () => {
  const { decisions, done } = about([]);
  decisions.decide('ig');
  decisions.confirm();
  assert.deepEqual(done, []);
});

test("the model's word holds for a single cell, also for one that may be a blast, and for none without a guess", () => {
  for (const [id, each] of [['3', { 3: 'ig' }], ['4', {}]]) {
    const { decisions, done } = about([id]);
    decisions.confirm();
    assert.deepEqual(done, [['each', each], ['choose', `after ${id}`]]);
  }
});

test('of several cells those that may be blasts, that are decided, or that have no guess are left out', () => {
  const { decisions, done } = about(['1', '2', '3', '4'], ['1']);
  decisions.confirm();
  assert.deepEqual(done[0], ['each', { 2: 'monocyte' }]);
});

test('a group is confirmed without what may be a blast, and the next group that can be has the focus', () => {
  const { decisions, done } = about([]);
  decisions.confirmGroup('ig');
  decisions.confirmGroup('monocyte');
  assert.deepEqual(done, [['each', { 1: 'ig' }], ['focus', 'monocyte'], ['each', { 2: 'monocyte' }], ['focus', 'ig']]);
});

test('a group is confirmed without a cell that is not shown yet', () => {
  const { decisions, done } = about([]);
  decisions.gallery.cells.delete('1');
  decisions.confirmGroup('ig');
  decisions.confirmGroup('monocyte');
  assert.deepEqual(done.filter(([what]) => what === 'each'), [['each', {}], ['each', { 2: 'monocyte' }]]);
});

test('a cell that a filter hides is not confirmed with its group', () => {
  const { decisions, done } = about([], [], '1');
  decisions.confirmGroup('ig');
  assert.deepEqual(done[0], ['each', {}]);
});
