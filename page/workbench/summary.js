// The words about the whole batch: what a filter shows, how many cells are decided, and the lines at the top.

import { filterCounts } from './filters.js';
import { called, taken } from './review.js';
import { counted } from './words.js';

// How the pictures were taken, in words.
export function takenWords(review, texts) {
  const { fields, cells, single, error } = taken(review), { taken_fields, taken_cells, taken_single, status } = texts;
  return [
    fields && counted(taken_fields, fields, { cells: counted(taken_cells, cells) }), single && counted(taken_single, single), error && `${error} ${status.error}`,
  ].filter(Boolean).join(', ');
}

// How many cells may be blasts, and how many a person decided to be some; nothing of none.
export function blastWords({ suspected, decided }, texts) {
  return [[texts.blasts, suspected], [texts.blasts_decided, decided]].filter(([, count]) => count).map(([each, count]) => counted(each, count)).join('. ');
}

// What stands for cells after a step, in words for those who do not see it.
export function decidedWords(cells, reading, texts, name) {
  const which = cells.length === 1 ? called(cells[0]) : counted(texts.taken_cells, cells.length);
  const said = cells.map(cell => (reading.decision(cell) ? `${texts.by_person}: ${name(reading.decision(cell))}` : texts.filter.undecided));
  return `${which}: ${[...new Set(said)].join(', ')}`;
}

export class Summary {
  constructor(root, texts) {
    Object.assign(this, { root, texts });
  }

  at(selector) { return this.root.querySelector(selector); }

  show(reading) {
    const { review } = reading, found = reading.summary(), counts = filterCounts(found, review);
    for (const option of this.at('#filter').options) option.textContent = `${this.texts.filter[option.value]} ${counts[option.value]}`;
    this.at('#reviewed').textContent = this.texts.reviewed.replace('{decided}', found.decided).replace('{total}', found.pictures);
    this.at('#batch').textContent = `${takenWords(review, this.texts)} · ${review.model}${review.second_model ? ` · ${review.second_model}` : ''}`;
    this.at('#coco').hidden = !review.cells.some(cell => cell.place);
    this.warn(reading, found);
    this.warnOfBlasts(reading);
  }

  // One banner for a batch of which more than a quarter is unlike the training pictures, with one of them beside a drawn cell.
  warn(reading, { unfamiliar, pictures }) {
    const banner = this.at('#banner');
    banner.hidden = unfamiliar <= pictures / 4;
    if (banner.hidden) return;
    const cell = reading.review.cells.find(each => each.picture && reading.isHeld(each) && reading.status(each) === 'unfamiliar');
    if (cell) this.at('#banner_cell').src = `data:image/jpeg;base64,${cell.picture}`;
    this.at('#banner_words').textContent = this.texts.banner_unfamiliar.replace('{count}', unfamiliar).replace('{total}', pictures);
  }

  // The line at the top. It is written only where it changes, since a screen reader says it each time.
  warnOfBlasts(reading) {
    const words = blastWords(reading.blasts(), this.texts);
    if (this.at('#to_blast').textContent !== words) this.at('#to_blast').textContent = words;
    this.at('#blasts').hidden = !words;
  }
}
