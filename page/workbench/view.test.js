import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, withAnswer } from './review.js';
import { Detail, Gallery } from './view.js';

const known = [
  { label: 'neutrophil', name: 'neutrófilo', type: 'neutrophil', white: true, colour: '#0072b2' },
  { label: 'platelet', name: 'plaqueta', type: 'platelet', white: false, colour: '#888888' },
];
const settings = { language: 'es', texts: { choice: {} }, classes: known, choices: [{ label: 'not_a_cell', colour: '#6b6b6b' }] };
const described = (name, spanish, cell_type = name) => ({ name, english: 'english', spanish, white: true, counted: true, cell_type });
const answer = { batch: 'b', model: 'm@1', labels: [], second_labels: [], review_below: 0, cells: [] };

test('a model describes classes that the page does not know', () => {
  const gallery = new Gallery(null, settings, {});
  assert.equal(gallery.name('sezary'), 'sezary');
  gallery.learn(withAnswer(create('b', ''), { ...answer, classes: [described('sezary', 'célula de Sézary'), described('band', 'cayado', 'neutrophil')] }));
  assert.deepEqual(gallery.order, ['neutrophil', 'platelet', 'sezary', 'band']);
  assert.equal(gallery.name('sezary'), 'célula de Sézary');
  assert.deepEqual(['sezary', 'band'].map(label => gallery.colours.get(label)), ['#6b6b6b', '#0072b2']);
  gallery.learn({});
  assert.deepEqual(gallery.order, ['neutrophil', 'platelet']);
});

test("a model's own word on a known class stands", () => {
  const gallery = new Gallery(null, settings, {});
  gallery.learn({ classes: [described('neutrophil', 'segmentado')], second_classes: [described('neutrophil', 'otro')] });
  assert.equal(gallery.name('neutrophil'), 'segmentado');
});

test('a review is read with the types of its own subtypes', () => {
  const gallery = new Gallery(null, settings, {});
  gallery.learn({ classes: [described('band', 'cayado', 'neutrophil')] });
  const reading = gallery.reading(create('b', ''));
  assert.deepEqual(['band', 'platelet', 'sezary'].map(reading.typeOf), ['neutrophil', 'platelet', 'sezary']);
});

test('a saliency map lies over its own cell alone, not over one of another batch with the same id', () => {
  globalThis.document = { createElement: () => ({ setAttribute() {}, append(words) { this.words = words; } }) };
  const notes = [], large = { src: 'the cell', after: note => notes.push(note.words) };
  const detail = new Detail({ querySelector: selector => (selector === '.large' ? large : null) }, settings, null, {}), cell = { id: '1' };
  detail.shown = [{ id: '1' }];
  detail.showSaliency(cell, 'map', 'note');
  assert.deepEqual([large.src, notes], ['the cell', []]);
  detail.shown = [cell];
  detail.showSaliency(cell, 'map', 'note');
  assert.deepEqual([large.src, notes], ['data:image/jpeg;base64,map', ['note']]);
});
