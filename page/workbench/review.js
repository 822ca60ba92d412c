// A review: the cells of a batch and a person's steps through them. Plain values, no DOM: what the browser keeps, what a file
// holds, and what the server is sent. No function changes what it is given.

export const FORMAT = 1;
export const REJECTED = ['not_a_cell', 'two_cells'];
export const BLAST = 'blast';
export const WITHOUT_GUESS = ['empty', 'error']; // statuses of a field without a white cell, and of what is no picture

export function create(batch, created) {
  return {
    format: FORMAT, batch, created, model: '', second_model: '', labels: [], second_labels: [], classes: [], second_classes: [],
    review_below: 0, has_statistics: false, cells: [], fields: {}, steps: [], comment: '',
  };
}

// The review with the cells of one answer of the server. An answer about another batch changes nothing, nor does one that
// came before.
export function withAnswer(review, answer) {
  if (answer.batch !== review.batch) return review;
  const { model, second_model, labels, second_labels, classes = [], second_classes = [], review_below, has_statistics = false } = answer;
  const fields = { ...review.fields, ...answer.fields };
  const said = { model, classes, review_below };
  const head = review.before ? { before: { ...review.before, ...said } } : said; // what was learnt stays
  return withCells({ ...review, second_model, labels, second_labels, second_classes, has_statistics, fields, ...head }, answer.cells);
}

// The review with further cells; those that it has already stay as they are.
export function withCells(review, cells) {
  const known = new Set(review.cells.map(cell => cell.id));
  return { ...review, cells: [...review.cells, ...cells.filter(cell => !known.has(cell.id))] };
}

// The review without these cells and what was decided of them.
export function withoutCells(review, ids) {
  const gone = new Set(ids);
  return { ...review, cells: review.cells.filter(cell => !gone.has(cell.id)), steps: review.steps.filter(step => !gone.has(step.cell)) };
}

// What the server is sent and a file holds: no step of a cell that another tab took away meanwhile.
export function consistent(review) {
  const known = new Set(review.cells.map(cell => cell.id));
  return { ...review, steps: review.steps.filter(step => known.has(step.cell)) };
}

// --- fields ---

// The id of the picture that a cell is in.
export function pictureOf(cell) {
  return cell.source ?? cell.id;
}

// The name of a cell for people: in a field with its number.
export function called(cell) {
  return cell.place ? `${cell.name} · ${cell.place.number}` : cell.name;
}

export function isOfField(cell) {
  return Boolean(cell.place) || cell.status === 'empty';
}

// Whether a person drew its box.
export function isDrawn(cell) {
  return cell.place?.found === 0;
}

// How the pictures were taken: {fields, cells: in them, single, error: could not be read}.
export function taken({ cells }) {
  const fields = new Set(cells.filter(isOfField).map(pictureOf));
  const error = cells.filter(cell => cell.status === 'error').length;
  return {
    fields: fields.size, cells: cells.filter(cell => cell.place).length, error,
    single: cells.filter(cell => !isOfField(cell)).length - error,
  };
}

// The number of the next cell that a person adds to a field.
export function nextNumber(review, picture) {
  return review.cells.reduce((most, cell) => (pictureOf(cell) === picture ? Math.max(most, cell.place?.number ?? 0) : most), 0) + 1;
}

// A cell that a person adds; `after` is the last step, or what was learnt, before it, by which undo knows the order. Cells of one file share `time`.
export function drawnCell(review, cell, time) {
  const place = { ...cell.place, number: nextNumber(review, pictureOf(cell)) }; // another may have come since it was drawn
  return { ...cell, place, after: lastNumber(review), time };
}

// The cells that undo takes away: the last drawn one with those of its file, if no step came after them.
export function lastDrawn(review) {
  const open = review.cells.filter(cell => isDrawn(cell) && cell.after >= highest(review.steps));
  const last = open.reduce((found, cell) => (found && found.after > cell.after ? found : cell), null);
  return open.filter(cell => cell === last || (cell.time && cell.time === last.time));
}

// What becomes of a picture's cells when it is taken in another way: {gone: ids of cells that are none any more, cells: further
// ones, lost: how many of those that go were decided or drawn by a person}. A cell remains where its id and its box are the same.
export function retaken(review, picture, cells) {
  const same = (one, other) => one.id === other.id && JSON.stringify(one.place?.box) === JSON.stringify(other.place?.box) && one.status === other.status;
  const before = review.cells.filter(cell => pictureOf(cell) === picture);
  const gone = before.filter(cell => !cells.some(each => same(cell, each)));
  const decided = decisions(review.steps);
  return {
    gone: gone.map(cell => cell.id), cells: cells.filter(cell => !before.some(each => same(cell, each))),
    lost: gone.filter(cell => isDrawn(cell) || decided.has(cell.id)).length,
  };
}

// --- other answers to the same cells ---

// The model that classified the cells first, whichever named them since.
export function baseOf({ model, before }) {
  return before?.model ?? model;
}

// Whether the cells of two reviews of a batch have the answers of the same model.
export function isNamedAlike(one, other) {
  return one.model === other?.model && JSON.stringify(one.before) === JSON.stringify(other?.before);
}

// The ids of cells that were added since another model named the rest, and have the answers of the first model.
export function added({ cells, before }) {
  return before ? cells.filter(cell => cell.picture && cell.probabilities && !cell.before).map(cell => cell.id) : [];
}

// Whether the cells can be named with batch-norm statistics of the batch: at least `fewest`, most of them unlike the training
// pictures, as the command line has it (cells/model/batch_statistics.py), and not named so yet.
export function canUseStatistics(review, fewest) {
  const statuses = review.cells.filter(cell => cell.probabilities).map(cell => (cell.before ?? cell).status);
  const isUnlike = statuses.length >= fewest && statuses.filter(status => status === 'unfamiliar').length > statuses.length / 2;
  const isOpen = !review.before || (review.report.kind === 'statistics' && added(review).length > 0);
  return Boolean(review.has_statistics) && isUnlike && isOpen;
}

// How many cells another model gives another name than the first.
export function renamed({ cells, labels }) {
  return cells.filter(cell => cell.before && guess(cell.probabilities, labels) !== guess(cell.before.probabilities, labels)).length;
}

// What the server learns from and names anew: every cell with a picture, with what a person decided.
export function toLearn(review) {
  const decided = decisions(review.steps);
  return review.cells.filter(cell => cell.picture && cell.probabilities).map(({ id, name, picture, place, framed }) => ({
    id, name, picture, framed: framed === true, cut: place?.cut === true,
    decision: review.labels.includes(decided.get(id)) ? decided.get(id) : '', // a blast may be a class of the second model alone
  }));
}

// {cells, types} that are decided, and can be learnt from.
export function lessons(review) {
  const found = toLearn(review).map(each => each.decision).filter(Boolean);
  return { cells: found.length, types: new Set(found).size };
}

// The review with the answers of another model, each in its cell, beside those before. Steps stay as they are.
export function withLearnt(review, answer) {
  if (answer.batch !== review.batch) return review;
  const { model, classes, review_below, report } = answer;
  const head = review.before ?? { model: review.model, classes: review.classes, review_below: review.review_below };
  const after = lastNumber(review) + 1; // a number of its own, as a step has
  return { ...withRows(review, answer), model, classes, review_below, report, before: { ...head, after } };
}

// The same for cells that were added since: what undo takes back first stays as it is.
export function withRows(review, answer) {
  const rows = new Map(answer.cells.map(row => [row.id, row]));
  return { ...review, cells: review.cells.map(cell => (rows.has(cell.id) ? { ...cell, ...rows.get(cell.id), before: cell.before ?? answerOf(cell) } : cell)) };
}

function answerOf({ probabilities, status, blast, message, prediction_set }) {
  return { probabilities, status, blast, message, prediction_set };
}

// Whether undo takes back what was learnt: no step and no drawn cell came after it.
export function isLearntLast(review) {
  const { before, steps } = review;
  return Boolean(before) && before.after >= highest(steps) && !lastDrawn(review).some(cell => cell.after >= before.after);
}

// The review with the answers as they were before anything was learnt.
export function unlearnt({ before, report, ...review }) {
  const { after, ...head } = before;
  return { ...review, ...head, cells: review.cells.map(unlearntCell) };
}

function unlearntCell({ before, ...cell }) {
  return { ...cell, ...before };
}

// The cells that would teach most: the most doubtful undecided ones, in turns from each guess.
export function toLabel(review, most = 12) {
  const decided = decisions(review.steps), of = new Map();
  for (const cell of review.cells) {
    if (decided.has(cell.id) || !cell.probabilities) continue;
    const label = guess(cell.probabilities, review.labels);
    of.set(label, [...of.get(label) ?? [], cell]);
  }
  const doubt = cell => Math.max(...cell.probabilities);
  const queues = [...of.values()].map(cells => cells.sort((a, b) => doubt(a) - doubt(b)));
  const turns = Array.from({ length: most }, (_, turn) => queues.map(cells => cells[turn]).filter(Boolean)).flat();
  return turns.slice(0, most).map(cell => cell.id);
}

// --- decisions ---

// Whether a person did something in a review.
export function hasWork({ steps, comment, cells }) {
  return steps.length > 0 || Boolean(comment) || cells.some(isDrawn);
}

// Whether another review lacks a step, a drawn cell or the comment of this one; of the same batch, any cell.
export function wouldLose(review, other) {
  const ids = new Set(other.batch === review.batch ? other.cells.map(cell => cell.id) : []);
  if (review.cells.some(cell => !ids.has(cell.id) && (isDrawn(cell) || other.batch === review.batch))) return true;
  const kept = new Set(other.batch === review.batch ? other.steps.map(step => JSON.stringify([step.cell, step.number, step.decision])) : []);
  return review.steps.some(step => !kept.has(JSON.stringify([step.cell, step.number, step.decision]))) || Boolean(review.comment) && review.comment !== other.comment;
}

// The name of a model without its version, as a batch is asked of it again.
export function modelName(called) {
  return called.slice(0, Math.max(0, called.lastIndexOf('@')));
}

// What every request about cells of a batch says: its id, and the models that it was started with.
export function requestOf(review) {
  return { batch: review.batch, model: modelName(baseOf(review)), second: modelName(review.second_model) };
}

// cell id -> what a person said last: the step with the highest number.
export function decisions(steps) {
  const latest = new Map();
  for (const step of steps) {
    if (!(latest.get(step.cell)?.number > step.number)) latest.set(step.cell, step);
  }
  return new Map([...latest].map(([cell, step]) => [cell, step.decision]));
}

// Whether two lists hold the same steps, in whatever order.
export function isDecidedAlike(one, other) {
  const [those, these] = [one, other].map(steps => steps.map(({ cell, number, decision }) => JSON.stringify([number, cell, decision])).sort());
  return those.length === these.length && those.every((step, at) => step === these[at]);
}

// The steps of one key press: one for each cell, all with the next number.
export function nextSteps(review, cells, decision, time) {
  const known = new Set(review.cells.map(cell => cell.id));
  const number = lastNumber(review) + 1;
  return cells.filter(cell => known.has(cell)).map(cell => ({ cell, number, decision, time }));
}

export function withSteps(review, steps) {
  return { ...review, steps: [...review.steps, ...steps] };
}

// [the review without its last key press or its last drawn cells, {cells, steps} that were taken back].
export function undone(review) {
  const cells = lastDrawn(review);
  if (cells.length) return [withoutCells(review, cells.map(cell => cell.id)), { cells, steps: [] }];
  const number = highest(review.steps);
  const steps = review.steps.filter(step => step.number === number);
  return [{ ...review, steps: review.steps.filter(step => step.number !== number) }, { cells, steps }];
}

// The review with what undo took back. A cell has no answer of a model that learnt and was taken back meanwhile.
export function redone(review, { cells, steps }) {
  return withSteps(withCells(review, review.before ? cells : cells.map(unlearntCell)), steps);
}

// The highest number that a step has, or had before its cell went: no other step gets it.
function lastNumber({ steps, cells, before }) {
  return cells.reduce((most, { after = 0 }) => Math.max(most, after), Math.max(highest(steps), before?.after ?? 0));
}

function highest(steps) {
  return steps.reduce((most, step) => Math.max(most, step.number), 0);
}

// What a person may say of a cell: a class of the model, a blast where one of the two models knows them, or that it is no cell.
export function choices({ labels, second_labels }) {
  return [...new Set([...labels, ...second_labels.filter(label => label === BLAST), ...REJECTED])];
}

// What the model says of a cell: the label with the largest probability; null where it says nothing.
export function guess(probabilities, labels) {
  if (!probabilities) return null;
  return labels[probabilities.reduce((best, p, index) => (p > probabilities[best] ? index : best), 0)];
}

export class Reading {
  // What derives from a review. `typeOf` maps a subtype to its type, and any other label to itself.
  constructor(review, typeOf = label => label) {
    this.review = review;
    this.typeOf = typeOf;
    this.decisions = decisions(review.steps);
  }

  decision(cell) {
    return this.decisions.get(cell.id) ?? '';
  }

  guess(cell) {
    return guess(cell.probabilities, this.review.labels);
  }

  // Whether a model says that the cell may be a blast, and no person has decided.
  isSuspected(cell) {
    return Boolean(cell.blast || cell.second?.blast) && !this.decision(cell);
  }

  // {suspected: how many cells may be blasts, decided: of how many a person decided that they are}.
  blasts() {
    const { cells } = this.review;
    return {
      suspected: cells.filter(cell => this.isSuspected(cell)).length,
      decided: cells.filter(cell => this.isBlast(cell)).length,
    };
  }

  // Whether a person decided that it is a blast.
  isBlast(cell) {
    return this.typeOf(this.decision(cell)) === BLAST;
  }

  // The model's status, or `disagree` where a second model names another type. What either takes for a blast is never ok.
  status(cell) {
    if (cell.status === 'ok' && (cell.blast || cell.second?.blast)) return 'review';
    if (cell.status !== 'ok' || !cell.second?.probabilities) return cell.status;
    const other = guess(cell.second.probabilities, this.review.second_labels);
    return this.typeOf(other) === this.typeOf(this.guess(cell)) ? 'ok' : 'disagree';
  }

  // What stands for a cell: a person's word, otherwise the model's; null where the model has no guess.
  label(cell) {
    return this.decision(cell) || this.guess(cell);
  }

  isHeld(cell) {
    return !this.decision(cell) && this.status(cell) !== 'ok';
  }

  // Whether "confirm all" takes the cell, for which it needs a guess. One that may be a blast is decided by itself where the model names another class.
  isConfirmable(cell) {
    return Boolean(cell.probabilities) && !this.decision(cell) && (!this.isSuspected(cell) || this.guess(cell) === BLAST);
  }

  isChanged(cell) {
    return Boolean(this.decision(cell)) && this.decision(cell) !== this.guess(cell);
  }

  // The group in which a cell stands. Unfamiliar cells and those on which two models disagree stand apart, by the guess.
  group(cell) {
    const status = this.status(cell);
    if (this.decision(cell) || status === 'ok' || status === 'review') return this.label(cell);
    return WITHOUT_GUESS.includes(status) ? status : `${status}/${this.guess(cell)}`;
  }

  // Smaller for a more doubtful cell; smallest where it may be a blast.
  doubt(cell) {
    return (this.isSuspected(cell) ? -2 : this.isHeld(cell) ? 0 : 2) + (cell.probabilities ? Math.max(...cell.probabilities) : 0);
  }

  // [{name, cells}] in the order of `order` (labels); blasts first, then disagreements, unfamiliar cells after the types.
  groups(order) {
    const found = new Map();
    for (const cell of this.review.cells) {
      const name = this.group(cell);
      if (!found.has(name)) found.set(name, []);
      found.get(name).push(cell);
    }
    const place = name => groupPlace(name, order);
    return [...found.keys()].sort((a, b) => place(a) - place(b)).map(name => ({
      name, cells: found.get(name).sort((a, b) => this.doubt(a) - this.doubt(b)),
    }));
  }

  // label -> how many cells enter the differential.
  counts() {
    const found = {};
    for (const cell of this.review.cells) {
      const label = this.label(cell);
      if (label && !this.isHeld(cell) && !REJECTED.includes(label)) found[label] = (found[label] ?? 0) + 1;
    }
    return found;
  }

  summary() {
    const found = { pictures: 0, decided: 0, changed: 0, review: 0, unfamiliar: 0, disagree: 0, empty: 0, error: 0 };
    for (const cell of this.review.cells) {
      found.pictures += 1;
      if (this.decision(cell)) found.decided += 1;
      if (this.isChanged(cell)) found.changed += 1;
      if (this.isHeld(cell)) found[this.status(cell)] += 1;
    }
    return found;
  }
}

export function groupPlace(name, order) {
  const [status, label] = name.includes('/') ? name.split('/') : ['', name];
  const base = { disagree: -1000, '': 0, unfamiliar: 1000 }[status] ?? 0;
  if (label === BLAST) return { '': -3000, disagree: -2999, unfamiliar: -2998 }[status];
  const at = [...order, ...REJECTED].indexOf(label);
  return WITHOUT_GUESS.includes(name) ? 3000 + WITHOUT_GUESS.indexOf(name) : base + (at < 0 ? 500 : at);
}

// A review that a file or the browser's storage holds. Throws Error where it is none.
export function parse(value) {
  const isText = each => typeof each === 'string';
  const whole = value?.format === FORMAT && isText(value.batch) && isText(value.model) && Array.isArray(value.labels)
    && Array.isArray(value.cells) && Array.isArray(value.steps)
    && value.cells.every(cell => isText(cell.id) && isText(cell.name) && (cell.probabilities === null || Array.isArray(cell.probabilities)))
    && value.steps.every(step => isText(step.cell) && Number.isInteger(step.number) && isText(step.decision));
  const { classes, second_classes, fields = {} } = value ?? {};
  const described = [classes, second_classes].map(some => some ?? []);
  if (!whole || !described.every(some => Array.isArray(some) && some.every(each => isText(each?.name)))) throw new Error('not a review');
  if (!Object.values(fields).every(each => isText(each?.picture) && each.width > 0 && each.height > 0)) throw new Error('not a review');
  return { ...create(value.batch, value.created ?? ''), ...value, fields, classes: described[0], second_classes: described[1] };
}
