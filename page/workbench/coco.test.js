import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { overlap, parse, plan, vocabulary } from './coco.js';
import { create, nextSteps, withCells, withSteps } from './review.js';

// name -> the boxes of all entries with it.
function byName(parsed) {
  const found = {};
  for (const { name, boxes } of parsed) found[name] = [...found[name] ?? [], ...boxes.map(({ box, category }) => [box, category])];
  return found;
}

for (const { name, file, images } of JSON.parse(readFileSync(new URL('coco_cases.json', import.meta.url)))) {
  test(`what a COCO file holds: ${name}`, () => {
    if (!images) assert.throws(() => parse(file));
    else assert.deepEqual(byName(parse(file)), images);
  });
}

const classes = [
  { label: 'ig', names: ['immature granulocyte', 'granulocito inmaduro'], type: 'ig' }, { label: 'lymphocyte', names: ['lymphocyte'], type: 'lymphocyte' },
  { label: 'MY', names: ['myelocyte'], type: 'ig' }, { label: 'LY', names: ['lymphocyte'], type: 'lymphocyte' }, { label: 'smudge', names: ['smudge cell'], type: 'smudge' },
];
const labelOf = vocabulary(['ig', 'lymphocyte', 'not_a_cell'], classes);

test('a category is a label, or words for it, in any spelling; a subtype is its type; anything else is unknown', () => {
  assert.deepEqual(['IG', ' Immature_Granulocyte', 'granulocito inmaduro', 'not a cell', 'myelocyte', 'my', 'LY', 'smudge', 'red cell'].map(labelOf), ['ig', 'ig', 'ig', 'not_a_cell', 'ig', 'ig', 'lymphocyte', undefined, undefined]);
});

test('the overlap of two boxes', () => {
  assert.equal(overlap([0, 0, 10, 10], [0, 0, 10, 10]), 1);
  assert.equal(overlap([0, 0, 10, 10], [0, 5, 10, 15]), 1 / 3);
  assert.equal(overlap([0, 0, 10, 10], [10, 0, 20, 10]), 0);
});

const SIZE = { picture: 'jpeg', width: 1000, height: 800 };
const cell = (picture, number, box, name = `${picture}.png`) => ({ id: `${picture}.${number}`, source: picture, name, probabilities: [1, 0], status: 'ok', place: { number, of: 2, box, found: 0.9 } });
const HERE = [100, 100, 200, 200], THERE = [500, 500, 600, 600], ELSEWHERE = [800, 100, 900, 200];
const fields = (...cells) => ({ ...withCells(create('b', ''), cells), fields: Object.fromEntries(cells.map(each => [each.source, SIZE])), labels: ['ig', 'lymphocyte'] });
const one = fields(cell('1', 1, HERE), cell('1', 2, THERE));
const decide = (each, id, decision) => withSteps(each, nextSteps(each, [id], decision, 't'));
const image = (name, ...boxes) => ({ name, width: 1000, height: 800, boxes: boxes.map(([box, category = 'ig']) => ({ box, category })) });
const planned = (review, ...images) => plan(images, review, labelOf);
const nothing = { decided: [], added: [], same: 0, left: 0, outside: 0, unknown: [], absent: 0 };

test('a box decides the cell that it lies over, becomes a cell where there is none, and other cells stay', () => {
  const near = [105, 100, 205, 200];
  assert.deepEqual(planned(one, image('1.png', [near, 'lymphocyte'], [ELSEWHERE])), {
    ...nothing, decided: [{ cell: '1.1', decision: 'lymphocyte' }], added: [{ picture: '1', box: ELSEWHERE, decision: 'ig' }], absent: 1,
  });
});

test('what a person decided stands', () => {
  const person = decide(decide(one, '1.1', 'ig'), '1.2', 'not_a_cell');
  assert.deepEqual(planned(person, image('1.png', [HERE, 'ig'], [THERE, 'ig'])), { ...nothing, same: 1, left: 1 });
  assert.deepEqual(planned(person, image('1.png', [HERE, 'ig'])), { ...nothing, same: 1 }); // a rejected cell is in no file
});

test('of two boxes of one cell the nearer one decides, and no cell is added twice', () => {
  assert.deepEqual(planned(one, image('1.png', [[110, 100, 210, 200], 'ig'], [HERE, 'lymphocyte'], [THERE])), {
    ...nothing, decided: [{ cell: '1.1', decision: 'lymphocyte' }, { cell: '1.2', decision: 'ig' }], left: 1,
  });
});

test('boxes of unknown categories change nothing', () => {
  assert.deepEqual(planned(one, image('1.png', [HERE, 'red cell'], [ELSEWHERE, 'red cell'], [THERE])), { ...nothing, decided: [{ cell: '1.2', decision: 'ig' }], unknown: ['red cell', 'red cell'] });
});

test('an image is the field of its name, whatever the folder, and with what Label Studio puts before it', () => {
  for (const name of ['1.png', 'images/1.png', 'C:\\slides\\1.png', 'images/0a1b2c3d-1.png']) assert.equal(planned(one, image(name, [HERE])).decided.length, 1, name);
  for (const name of ['11.png', '1.jpg', 'other.png']) assert.deepEqual(planned(one, image(name, [HERE])), { ...nothing, outside: 1 }, name);
});

test('of fields with one file name the folders tell which is meant, and where they do not none is', () => {
  const two = fields(cell('1', 1, HERE, 'a/x.png'), cell('2', 1, HERE, 'b/x.png'));
  assert.deepEqual(planned(two, image('data/b/x.png', [HERE])).decided, [{ cell: '2.1', decision: 'ig' }]);
  assert.deepEqual(planned(two, image('x.png', [HERE])), { ...nothing, outside: 1 });
  assert.deepEqual(planned(one, image('a/1.png', [HERE]), image('b/1.png', [THERE])), { ...nothing, outside: 2 });
});

test('of entries and fields of exactly one name the cells tell which belong together', () => {
  const first = [cell('1', 1, HERE, 'x.png'), cell('1', 2, THERE, 'x.png')], second = [cell('2', 1, ELSEWHERE, 'x.png')];
  const entries = [image('x.png', [HERE, 'ig'], [THERE, 'lymphocyte']), image('x.png', [ELSEWHERE, 'ig'], [[10, 600, 90, 700], 'ig'])];
  const both = planned(fields(...first, ...second), ...entries), one = planned(fields(...first), ...entries);
  assert.deepEqual(both.decided, [{ cell: '1.1', decision: 'ig' }, { cell: '1.2', decision: 'lymphocyte' }, { cell: '2.1', decision: 'ig' }]);
  assert.deepEqual(both.added, [{ picture: '2', box: [10, 600, 90, 700], decision: 'ig' }]);
  assert.deepEqual(one, { ...nothing, decided: both.decided.slice(0, 2), outside: 2 });
  assert.deepEqual(planned(fields(...first, cell('3', 1, HERE, 'x.png'), cell('3', 2, THERE, 'x.png')), entries[0]), { ...nothing, outside: 2 });
});

test('two entries of one picture are read as one: of two boxes of a cell the nearer one decides', () => {
  const entries = [image('1.png', [[110, 100, 210, 200], 'ig'], [THERE]), image('1.png', [HERE, 'lymphocyte'])];
  assert.deepEqual(planned(one, ...entries), { ...nothing, decided: [{ cell: '1.2', decision: 'ig' }, { cell: '1.1', decision: 'lymphocyte' }], left: 1 });
  assert.deepEqual(planned(one, ...entries.slice(1), image('1.png', [ELSEWHERE])), { ...nothing, decided: [{ cell: '1.1', decision: 'lymphocyte' }], outside: 1, absent: 1 });
});

test('boxes of a smaller copy are enlarged, those of another shape are of another picture, and none leaves its field', () => {
  const small = { ...image('1.png', [[50, 50, 100, 100]]), width: 500, height: 400 };
  assert.deepEqual(planned(one, small).decided, [{ cell: '1.1', decision: 'ig' }]);
  assert.equal(planned(one, { ...small, width: 400, height: 500 }).outside, 1);
  assert.deepEqual(planned(one, image('1.png', [[900, 700, 1100, 900]])).added[0].box, [900, 700, 1000, 800]);
  assert.deepEqual(planned(one, image('1.png', [[1100, 700, 1200, 900]])), { ...nothing, outside: 1, absent: 2 });
});

test('a picture that was taken as a single cell has no boxes, and a field without a cell gets some', () => {
  const single = { ...fields(cell('1', 1, HERE)), cells: [{ ...cell('1', 1, HERE), place: null }] };
  assert.equal(planned(single, image('1.png', [HERE])).outside, 1);
  const empty = { ...single, cells: [{ ...single.cells[0], status: 'empty' }] };
  assert.deepEqual(planned(empty, image('1.png', [HERE])), { ...nothing, added: [{ picture: '1', box: HERE, decision: 'ig' }] });
});
