// Which cells of the gallery a filter shows.

import { toLabel } from './review.js';

// Whether a cell is shown, as a function of the cell and what derives from its review as it is by then.
export function filterOf(name, review) {
  const proposed = new Set(name === 'label' ? toLabel(review) : []); // they stay while they are decided
  return {
    all: () => true, changed: (cell, reading) => reading.isChanged(cell), undecided: (cell, reading) => !reading.decision(cell),
    label: cell => proposed.has(cell.id),
    review: (cell, reading) => reading.isHeld(cell) && ['review', 'disagree'].includes(reading.status(cell)),
    unfamiliar: (cell, reading) => reading.isHeld(cell) && reading.status(cell) === 'unfamiliar',
  }[name];
}

// How many cells each filter finds; `found` is the summary of the review.
export function filterCounts(found, review) {
  return {
    all: found.pictures, review: found.review + found.disagree, unfamiliar: found.unfamiliar, changed: found.changed, undecided: found.pictures - found.decided, label: toLabel(review).length,
  };
}
