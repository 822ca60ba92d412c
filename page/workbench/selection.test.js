import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, withCells } from './review.js';
import { Selection } from './selection.js';

const cell = (id, number, source = '1') => ({ id, source, probabilities: [1], status: 'ok', place: number ? { number } : null });

// A selection among these ids of a gallery, which can all be chosen, and how often it changed.
function among(ids, { cells = ids.map(id => cell(id)), enlarged = () => null, decided = [] } = {}) {
  const gallery = {
    selected: new Set(), current: null, cells: new Map(cells.map(each => [each.id, {}])), focused: [], visible: () => ids,
    select(some, current, focus = true) { Object.assign(this, { selected: new Set(some), current }); if (focus) this.focused.push(current); },
    reading: () => ({ decisions: new Map(decided.map(id => [id, 'ig'])) }), neighbour: (to, list) => [to, list],
  };
  const made = { gallery, changes: 0 };
  made.selection = new Selection(gallery, { review: withCells(create('b', ''), cells) }, enlarged, () => { made.changes += 1; });
  return made;
}

test('with shift what lies between is selected, from where the first of several was, in any direction', () => {
  const { selection } = among(['1', '2', '3', '4']);
  selection.choose('2');
  selection.choose('4', true, true);
  assert.deepEqual(selection.selected(), ['2', '3', '4']);
  selection.choose('1', true, true);
  assert.deepEqual(selection.selected(), ['1', '2']);
  selection.choose('3');
  assert.deepEqual(selection.selected(), ['3']);
});

test('a cell that is none any more is not chosen', () => {
  const made = among(['1']);
  made.selection.choose('9');
  made.selection.show(null); // no cell came of a box
  assert.deepEqual([made.selection.selected(), made.changes], [[], 0]);
});

test('what is shown without a person takes no focus, and moves nobody away from a cell', () => {
  const { selection, gallery } = among(['1', '2']);
  selection.ensure();
  assert.deepEqual([gallery.current, gallery.focused], ['1', []]);
  selection.ensure('2');
  assert.equal(gallery.current, '1');
  selection.show('2');
  assert.deepEqual([gallery.current, gallery.focused, selection.current().id], ['2', [], '2']);
});

const clicked = (id, more = {}) => ({ target: { closest: () => (id ? { dataset: { cell: id } } : null) }, ...more });

test('a click selects one cell, with control one more or one less, with shift all between', () => {
  const { selection } = among(['1', '2', '3']);
  const after = (...event) => { selection.click(clicked(...event)); return selection.selected(); };
  assert.deepEqual([after('1'), after('3', { ctrlKey: true }), after('1', { metaKey: true }), after(null)], [['1'], ['1', '3'], ['3'], ['3']]);
  assert.equal(selection.current().id, '3'); // what is shown large is what a key decides
  assert.deepEqual(after('3', { ctrlKey: true }), ['3']); // the last one stays
  assert.deepEqual([after('1'), after('2', { shiftKey: true })], [['1'], ['1', '2']]);
});

test('the next cell is the next that nobody decided; at the end a person stays', () => {
  const { selection, gallery } = among(['1', '2', '3', '4'], { decided: ['2', '3'] });
  selection.choose('1');
  assert.equal(selection.following(['1']), '4');
  gallery.current = '4';
  assert.equal(selection.following(['1', '4']), '4');
});

test('in a large field a person moves among its cells by their numbers, elsewhere as the gallery shows them', () => {
  const cells = [cell('b', 2), cell('a', 1), cell('c', 1, 'another'), cell('1', 0)];
  assert.deepEqual(among(['b', 'a', '1'], { cells }).selection.ids(), ['b', 'a', '1']);
  const { selection, gallery } = among(['b', 'a', '1'], { cells, enlarged: () => '1' }), moves = [];
  gallery.neighbour = (...move) => { moves.push(move); return 'a'; };
  selection.move('next', false);
  assert.deepEqual([moves, selection.selected()], [[['next', ['a', 'b']]], ['a']]);
});

test('a group is all that is shown of it', () => {
  const cells = ['1', '2', '3'].map((id, index) => cell(id, index + 1, id === '3' ? 'another' : 'field'));
  for (const [enlarged, seen, group] of [[null, ['1', '3'], ['1', '3']], ['field', [], ['1', '2']]]) { // of a large field none behind it
    const { selection, gallery } = among(seen, { cells, enlarged: () => enlarged });
    assert.deepEqual([selection.selectGroup(), selection.selected()], [undefined, []]);
    selection.choose('1');
    gallery.cells.get('1').parentElement = { children: cells.map(({ id }) => ({ dataset: { cell: id } })) };
    selection.selectGroup();
    assert.deepEqual(selection.selected(), group);
  }
});

test('with shift nothing is selected from a cell that is not seen any more', () => {
  const ids = ['1', '2', '3', '4'], { selection } = among(ids);
  selection.choose('3');
  selection.choose('4', true, true);
  ids.splice(2, 1); // the anchor is filtered out
  selection.choose('4', true, true);
  assert.deepEqual(selection.selected(), ['4']);
});

test('what is not seen any more is selected no more, and the cell that is shown large is a selected one', () => {
  const ids = ['1', '2', '3'], made = among(ids), { selection, gallery } = made;
  selection.choose('1');
  selection.choose('3', true, true);
  ids.pop();
  selection.narrow();
  assert.deepEqual([selection.selected(), gallery.current, gallery.focused.length], [['1', '2'], '2', 2]);
  ids.length = 0;
  selection.narrow();
  assert.deepEqual([selection.selected(), gallery.current, made.changes], [[], null, 4]);
});
