import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  Reading, added, baseOf, called, canUseStatistics, choices, consistent, create, decisions, drawnCell, hasWork, isLearntLast, lastDrawn, lessons, modelName, nextNumber, nextSteps, parse, pictureOf,
  redone, renamed, requestOf, retaken, taken, toLabel, toLearn, undone, unlearnt, withAnswer, withCells, withLearnt, withRows, withSteps, withoutCells, wouldLose,
} from './review.js';

const labels = ['neutrophil', 'lymphocyte', 'monocyte'];
const cell = (id, probabilities, status = 'ok', second = null) => ({ id, name: `${id}.png`, probabilities, status, second, message: null, prediction_set: [], picture: '' });
const answer = (batch, ...cells) => ({ batch, model: 'm@1/int8', second_model: '', labels, second_labels: labels, review_below: 0.9, cells });
const review = (...cells) => withAnswer(create('b', '2026-01-01T00:00:00Z'), answer('b', ...cells));
const decide = (each, ids, decision) => withSteps(each, nextSteps(each, ids, decision, 't'));

for (const { name, steps, holds } of JSON.parse(readFileSync(new URL('cases.json', import.meta.url)))) {
  test(`which decision holds: ${name}`, () => assert.deepEqual(Object.fromEntries(decisions(steps)), holds));
}

test('an answer about another batch changes nothing', () => {
  const before = review(cell('1', [1, 0, 0]));
  assert.equal(withAnswer(before, answer('other', cell('2', [1, 0, 0]))), before);
});

test('an answer that comes twice is taken once', () => {
  const once = review(cell('1', [1, 0, 0]));
  assert.equal(withAnswer(once, answer('b', cell('1', [0, 1, 0]))).cells.length, 1);
});

test('a batch is asked for with the models that it was started with, whatever names its cells since', () => {
  const learnt = withLearnt(review(cell('1', [1, 0, 0])), { batch: 'b', model: 'm+8@2', classes: [], review_below: 0, report: {}, cells: [] });
  assert.deepEqual(requestOf(learnt), { batch: 'b', model: 'm', second: '' });
  assert.deepEqual(requestOf({ ...learnt, second_model: 'n@1/int8' }), { batch: 'b', model: 'm', second: 'n' });
});

test('undo takes back a whole key press, and the decision before it holds again', () => {
  const first = decide(review(cell('1', [1, 0, 0]), cell('2', [1, 0, 0])), ['1'], 'monocyte');
  const both = decide(first, ['1', '2'], 'lymphocyte'), [back, taken] = undone(both);
  assert.equal(taken.steps.length, 2);
  assert.deepEqual(Object.fromEntries(decisions(back.steps)), { 1: 'monocyte' });
  assert.deepEqual(redone(back, taken), both);
  assert.deepEqual(undone(review())[1], { cells: [], steps: [] });
});

test('a step names only cells of the batch', () => {
  assert.deepEqual(nextSteps(review(cell('1', [1, 0, 0])), ['1', '9'], 'monocyte', 't').map(step => step.cell), ['1']);
});

test('held cells are not counted before a person decides', () => {
  const held = review(cell('1', [0.8, 0.1, 0.1], 'review'), cell('2', [0, 1, 0], 'unfamiliar'), cell('3', [0, 0, 1]), cell('4', null, 'error'));
  assert.deepEqual(new Reading(held).counts(), { monocyte: 1 });
  assert.deepEqual(new Reading(decide(held, ['1', '2'], 'neutrophil')).counts(), { neutrophil: 2, monocyte: 1 });
  assert.deepEqual(new Reading(decide(held, ['3'], 'not_a_cell')).counts(), {});
});

test('two models disagree by types, not by subtypes', () => {
  const typeOf = label => ({ BNE: 'neutrophil', SNE: 'neutrophil' })[label] ?? label;
  const pair = { ...review(cell('1', [1, 0, 0], 'ok', { probabilities: [1, 0, 0], status: 'ok' })), second_labels: ['BNE', 'LY', 'MO'] };
  assert.equal(new Reading(pair, typeOf).status(pair.cells[0]), 'ok');
  assert.equal(new Reading({ ...pair, second_labels: ['LY', 'BNE', 'MO'] }, typeOf).status(pair.cells[0]), 'disagree');
});

test('groups: disagreements, types in order, unfamiliar cells by guess, unreadable ones; the most doubtful first', () => {
  const all = review(
    cell('1', [0.99, 0, 0.01]), cell('2', [0.91, 0, 0.09]), cell('3', [0.5, 0.4, 0.1], 'review'), cell('4', [0, 1, 0], 'unfamiliar'), cell('5', null, 'error'),
    cell('6', [1, 0, 0], 'ok', { probabilities: [0, 1, 0], status: 'ok' }),
  );
  assert.deepEqual(new Reading(all).groups(labels).map(group => [group.name, group.cells.map(each => each.id)]), [
    ['disagree/neutrophil', ['6']], ['neutrophil', ['3', '2', '1']], ['unfamiliar/lymphocyte', ['4']], ['error', ['5']],
  ]);
});

const ten = ['neutrophil', 'lymphocyte', 'blast'];
const suspected = (id, probabilities, status = 'review', second = null) => ({ ...cell(id, probabilities, status, second), blast: true });
const blasts = (...cells) => ({ ...review(...cells), labels: ten, second_labels: ten });

test('cells that may be blasts are counted until a person decides, and blasts from then on', () => {
  const open = blasts(suspected('1', [0.7, 0.1, 0.2]), suspected('2', [0, 0.4, 0.6]), cell('3', [1, 0, 0]), suspected('4', [0.2, 0.6, 0.2], 'unfamiliar'));
  assert.deepEqual(new Reading(open).blasts(), { suspected: 3, decided: 0 });
  assert.deepEqual(new Reading(decide(open, ['1'], 'neutrophil')).blasts(), { suspected: 2, decided: 0 });
  const both = decide(decide(open, ['2'], 'blast'), ['3'], 'blast');
  assert.deepEqual(new Reading(both).blasts(), { suspected: 2, decided: 2 });
  assert.deepEqual(new Reading(undone(both)[0]).blasts(), { suspected: 2, decided: 1 });
  assert.deepEqual(new Reading(decide(open, ['3'], 'monoblast'), label => (label === 'monoblast' ? 'blast' : label)).blasts().decided, 1);
});

test('what either model takes for a blast is held, whatever the status says', () => {
  const open = blasts(suspected('1', [1, 0, 0], 'ok'), cell('2', [1, 0, 0], 'ok', { probabilities: [0.9, 0, 0.1], status: 'review', blast: true }));
  const reading = new Reading(open);
  assert.deepEqual(open.cells.map(each => [reading.status(each), reading.isSuspected(each)]), [['review', true], ['review', true]]);
  assert.deepEqual(reading.counts(), {});
});

test('blasts stand first, and in every other group the cells that may be blasts', () => {
  const all = blasts(
    cell('1', [0.5, 0.4, 0.1], 'review'), suspected('2', [0.8, 0, 0.2]), cell('3', [0, 0, 1], 'ok', { probabilities: [1, 0, 0], status: 'ok' }),
    suspected('4', [0, 0.1, 0.9]), suspected('5', [0, 0.3, 0.7], 'unfamiliar'), cell('6', [1, 0, 0], 'ok', { probabilities: [0, 1, 0], status: 'ok' }),
  );
  assert.deepEqual(new Reading(all).groups(ten).map(group => [group.name, group.cells.map(each => each.id)]), [
    ['blast', ['4']], ['disagree/blast', ['3']], ['unfamiliar/blast', ['5']], ['disagree/neutrophil', ['6']], ['neutrophil', ['2', '1']],
  ]);
});

test('a cell that may be a blast is confirmed with a group only as a blast', () => {
  const open = blasts(suspected('1', [0.8, 0, 0.2]), suspected('2', [0, 0.1, 0.9]), cell('3', [1, 0, 0]));
  const confirmable = each => each.cells.filter(one => new Reading(each).isConfirmable(one)).map(one => one.id);
  assert.deepEqual(confirmable(open), ['2', '3']);
  assert.deepEqual(confirmable(decide(open, ['3'], 'neutrophil')), ['2']);
});

test('a person may say blast where either model knows them', () => {
  const rejected = ['not_a_cell', 'two_cells'];
  assert.deepEqual(choices({ labels, second_labels: [] }), [...labels, ...rejected]);
  assert.deepEqual(choices({ labels, second_labels: ten }), [...labels, 'blast', ...rejected]);
  assert.deepEqual(choices({ labels: ten, second_labels: ten }), [...ten, ...rejected]);
});

test('a review without a word on blasts suspects none', () => {
  assert.deepEqual(new Reading(review(cell('1', [1, 0, 0]))).blasts(), { suspected: 0, decided: 0 });
});

test('what a file holds is a review, or an error', () => {
  const whole = decide(review(cell('1', [1, 0, 0])), ['1'], 'monocyte');
  assert.deepEqual(parse(JSON.parse(JSON.stringify(whole))), whole);
  const { classes, second_classes, ...older } = whole;
  assert.deepEqual(parse(older), whole);
  for (const broken of [{ ...whole, classes: 5 }, { ...whole, second_classes: [{}] }, null, 1, {}, { ...whole, format: 2 }, { ...whole, cells: [{}] }, { ...whole, steps: [{ cell: '1' }] }]) assert.throws(() => parse(broken));
});

test('further cells join a review, none twice', () => {
  const both = withCells(review(cell('1', [1, 0, 0])), [cell('1', [0, 1, 0]), cell('2', [0, 1, 0])]);
  assert.deepEqual(both.cells.map(each => [each.id, each.probabilities[0]]), [['1', 1], ['2', 0]]);
});

test('a review that is opened in place of another loses work where it lacks a step or the comment', () => {
  const plain = review(cell('1', [1, 0, 0])), decided = decide(plain, ['1'], 'monocyte');
  assert.equal(wouldLose(plain, { ...plain, batch: 'other' }), false);
  assert.equal(wouldLose(decided, decided), false);
  assert.equal(wouldLose(decided, plain), true);
  assert.equal(wouldLose(decided, { ...decided, batch: 'other' }), true);
  assert.equal(wouldLose({ ...plain, comment: 'x' }, plain), true);
  const drawn = withCells(plain, [{ id: '9', place: { number: 1, found: 0 } }]), further = withCells(plain, [{ id: '9' }]);
  assert.deepEqual([drawn, further].map(each => wouldLose(each, plain)), [true, true]); // a cell of the batch that the file lacks
  assert.deepEqual([drawn, further].map(each => wouldLose(each, { ...plain, batch: 'other' })), [true, false]);
  assert.deepEqual([plain, decided, { ...plain, comment: 'x' }, drawn, further].map(hasWork), [false, true, true, true, false]);
});

test('the name of a model, which may hold a revision, without its version', () => {
  assert.equal(modelName('resnet18@212b7737/int8'), 'resnet18');
  assert.equal(modelName('user/cells@v2@0123/int8'), 'user/cells@v2');
  assert.equal(modelName(''), '');
});

// --- fields ---

const placed = (picture, number, box, more = {}) => ({
  ...cell(`${picture}.${number}`, [1, 0, 0]), source: picture, name: `${picture}.jpg`, place: { number, of: 2, box, found: 0.9, cut: false }, ...more,
});
const draw = (each, picture, number, time) => withCells(each, [drawnCell(each, placed(picture, number, [5, 5, 9, 9], { place: { number, of: number, box: [5, 5, 9, 9], found: 0 }, blast: false }), time)]);
const last = each => lastDrawn(each).map(one => one.id);
const empty = id => ({ ...cell(id, null, 'empty'), source: id });

test('how pictures were taken, and what a cell is called', () => {
  const all = review(placed('1', 1, [0, 0, 9, 9]), placed('1', 2, [9, 9, 19, 19]), empty('2'), cell('3', [1, 0, 0]), cell('4', null, 'error'));
  assert.deepEqual(taken(all), { fields: 2, cells: 2, error: 1, single: 1 });
  assert.deepEqual(all.cells.map(called), ['1.jpg · 1', '1.jpg · 2', '2.png', '3.png', '4.png']);
  assert.deepEqual(all.cells.map(pictureOf), ['1', '1', '2', '3', '4']);
});

test('a field without a white cell stands apart like an unreadable picture, and nothing of it is confirmed or counted', () => {
  const all = review(empty('1'), cell('2', null, 'error'), cell('3', [1, 0, 0])), reading = new Reading(all);
  assert.deepEqual(reading.groups(labels).map(group => group.name), ['neutrophil', 'empty', 'error']);
  assert.deepEqual(all.cells.map(each => reading.isConfirmable(each)), [false, false, true]);
  assert.deepEqual(reading.counts(), { neutrophil: 1 });
  assert.equal(reading.summary().empty, 1);
});

test('the fields of an answer join those of the review, and a file must hold whole ones', () => {
  const field = { picture: 'x', width: 9, height: 9 };
  const both = withAnswer(withAnswer(create('b', ''), { ...answer('b'), fields: { 1: field } }), { ...answer('b'), fields: { 2: field } });
  assert.deepEqual(parse(JSON.parse(JSON.stringify(both))).fields, { 1: field, 2: field });
  assert.throws(() => parse({ ...both, fields: { 1: { picture: 5 } } }));
});

test('undo takes a drawn cell away only where no step came after it', () => {
  const found = review(placed('1', 1, [0, 0, 9, 9]), placed('1', 7, [0, 0, 9, 9]), placed('2', 9, [0, 0, 9, 9]));
  assert.equal(nextNumber(found, '1'), 8);
  assert.deepEqual(last(found), []);
  const open = draw(decide(found, ['1.1'], 'monocyte'), '1', 8);
  assert.deepEqual(last(open), ['1.8']);
  assert.deepEqual(last(decide(open, ['1.7'], 'monocyte')), []);
  assert.deepEqual(last(undone(decide(open, ['1.8'], 'monocyte'))[0]), ['1.8']);
  assert.deepEqual(last(withoutCells(open, ['1.8'])), []);
  assert.deepEqual(last(draw(open, '1', 9)), ['1.9']);
  assert.deepEqual(last(draw(draw(open, '1', 9, 't'), '2', 10, 't')), ['1.9', '2.10']);
});

test('redo brings back a drawn cell as it was, then what was decided of it', () => {
  const drawn = draw(decide(review(placed('1', 1, [0, 0, 9, 9])), ['1.1'], 'monocyte'), '1', 2), decided = decide(drawn, ['1.2'], 'lymphocyte');
  const [without, step] = undone(decided), [before, box] = undone(without);
  assert.deepEqual(before.cells.map(each => each.id), ['1.1']);
  assert.deepEqual(redone(before, box), drawn);
  assert.deepEqual(redone(redone(before, box), step), decided);
});

test('a drawn cell that comes back has the answer of the model that the review has by then', () => {
  const plain = draw(review(placed('1', 1, [0, 0, 9, 9])), '1', 2), after = withLearnt(plain, learnt(row('1.2', [0, 1, 0])));
  const [before, box] = undone(after);
  assert.deepEqual(redone(before, box).cells, after.cells);
  assert.deepEqual(redone(unlearnt(before), box), plain);
});

test('a picture that is taken in another way keeps the cells that remain, and says how much of a person goes', () => {
  const box = [0, 0, 9, 9], other = [5, 5, 20, 20];
  const before = decide(review(placed('1', 1, box), placed('1', 2, other), placed('2', 1, box)), ['1.1', '1.2', '2.1'], 'monocyte');
  assert.deepEqual(retaken(before, '1', [{ ...cell('1', [1, 0, 0]), source: '1' }]), { gone: ['1.1', '1.2'], cells: [{ ...cell('1', [1, 0, 0]), source: '1' }], lost: 2 });
  const moved = placed('1', 2, [6, 5, 20, 20]);
  assert.deepEqual(retaken(before, '1', [placed('1', 1, box), moved]), { gone: ['1.2'], cells: [moved], lost: 1 });
  const drawn = placed('1', 3, other, { place: { number: 3, of: 3, box: other, found: 0 } });
  assert.equal(retaken(withCells(review(placed('1', 1, box)), [drawn]), '1', []).lost, 1);
});

test('cells that go take what was decided of them along, and no file holds a step without its cell', () => {
  const before = decide(review(placed('1', 1, [0, 0, 9, 9]), cell('2', [1, 0, 0])), ['1.1', '2'], 'monocyte');
  const after = withoutCells(before, ['1.1']);
  assert.deepEqual([after.cells.map(each => each.id), after.steps.map(step => step.cell)], [['2'], ['2']]);
  assert.deepEqual(consistent({ ...after, steps: before.steps }).steps, after.steps);
});

const seen = (id, probabilities) => ({ ...cell(id, probabilities), blast: false, picture: 'jpeg' });
const row = (id, probabilities) => ({ id, probabilities, status: 'review', blast: false, message: null, prediction_set: ['monocyte'] });
const learnt = (...rows) => ({ batch: 'b', model: 'm@1+5/torch', classes: [], review_below: 0.5, report: { right: 4 }, cells: rows });

test('what is learnt from are the decided cells with a picture, but for rejected ones', () => {
  const cells = [seen('1', [1, 0, 0]), { ...seen('2', [1, 0, 0]), framed: true }, seen('3', [1, 0, 0]), cell('4', [1, 0, 0])];
  const found = decide(decide(decide(review(...cells), ['1', '4'], 'monocyte'), ['2'], 'not_a_cell'), ['3'], 'blast'); // of the second model
  assert.deepEqual(toLearn(found).map(each => [each.id, each.decision, each.framed]), [['1', 'monocyte', false], ['2', '', true], ['3', '', false]]);
  assert.deepEqual(lessons(found), { cells: 1, types: 1 });
});

test('learning changes answers alone, and undo brings those before back', () => {
  const before = decide(review(seen('1', [1, 0, 0]), seen('2', [1, 0, 0])), ['1'], 'lymphocyte');
  const after = withLearnt(before, learnt(row('1', [0, 1, 0]), row('2', [0, 0, 1])));
  assert.deepEqual(after.steps, before.steps);
  assert.deepEqual([after.model, baseOf(after), renamed(after)], ['m@1+5/torch', 'm@1/int8', 2]);
  assert.equal(new Reading(after).label(after.cells[1]), 'monocyte');
  assert.equal(new Reading(after).label(after.cells[0]), 'lymphocyte');
  assert.ok(isLearntLast(after));
  assert.ok(!isLearntLast(decide(after, ['2'], 'monocyte')));
  const twice = withLearnt(after, learnt(row('2', [0, 1, 0])));
  assert.deepEqual(unlearnt(twice), before);
  assert.equal(withLearnt(before, { ...learnt(), batch: 'other' }), before);
});

test('cells that are added after learning do not undo it', () => {
  const after = withLearnt(review(seen('1', [1, 0, 0])), learnt(row('1', [0, 1, 0])));
  const more = withAnswer(after, answer('b', seen('2', [1, 0, 0])));
  assert.equal(more.model, 'm@1+5/torch');
  assert.deepEqual(unlearnt(more).model, 'm@1/int8');
});

test('cells that are added after learning are known until they have the other model\'s answers, and undo takes back all of it', () => {
  const before = decide(review(seen('1', [1, 0, 0])), ['1'], 'monocyte');
  const after = withAnswer(withLearnt(before, learnt(row('1', [0, 1, 0]))), answer('b', seen('2', [1, 0, 0]), cell('3', null, 'error')));
  assert.deepEqual([added(before), added(after)], [[], ['2']]);
  const decided = decide(after, ['2'], 'monocyte'), named = withRows(decided, { cells: [row('2', [0, 1, 0])] });
  assert.deepEqual([added(named), renamed(named), named.model, isLearntLast(named)], [[], 2, 'm@1+5/torch', false]);
  assert.deepEqual(unlearnt(named).cells.map(each => each.probabilities), [[1, 0, 0], [1, 0, 0], null]);
  assert.deepEqual(named.steps, decided.steps);
});

test('the cells to label next are the most doubtful of each guess in turns', () => {
  const found = review(seen('1', [0.9, 0.1, 0]), seen('2', [0.6, 0.4, 0]), seen('3', [0, 1, 0]), seen('4', [0.2, 0.8, 0]), seen('5', [0.5, 0.4, 0]));
  assert.deepEqual(toLabel(decide(found, ['5'], 'monocyte'), 3), ['2', '4', '1']);
});

test('statistics of the batch are offered where most of enough cells are unfamiliar, once, and again for what is added', () => {
  const far = (...ids) => ({ ...review(...ids.map(id => ({ ...seen(id, [1, 0, 0]), status: 'unfamiliar' })), seen('9', [1, 0, 0])), has_statistics: true });
  assert.deepEqual([far('1', '2'), far('1'), { ...far('1', '2'), has_statistics: false }].map(each => canUseStatistics(each, 3)), [true, false, false]);
  assert.equal(canUseStatistics(far('1', '2'), 4), false);
  const rows = ['1', '2', '9'].map(id => row(id, [0, 1, 0])), named = withLearnt(far('1', '2'), { ...learnt(...rows), report: { kind: 'statistics' } });
  assert.equal(canUseStatistics(named, 3), false);
  assert.equal(canUseStatistics(unlearnt(named), 3), true);
  assert.equal(canUseStatistics(withCells(named, [{ ...seen('10', [1, 0, 0]), status: 'unfamiliar' }]), 3), true);
  assert.equal(canUseStatistics(withLearnt(far('1', '2'), learnt()), 3), false);
});
