// Boxes and types of fields in a COCO JSON file, as this page, CVAT and Label Studio write it: what a file holds, and what it
// means for a batch. Plain values, no DOM.

import { boxOf } from './field.js';
import { REJECTED, decisions, isOfField, pictureOf } from './review.js';

const OVERLAP = 0.5; // of a box and a cell, from which on they are the same
const SAME_SHAPE = 0.01; // up to which two ratios of width and height are the same

// [{name, width, height, boxes: [{box: [x0, y0, x1, y1], category}]}], one an entry: pictures of two folders may have one name. Throws
// Error where the value is no COCO JSON of boxes. cells/write/coco.py reads the same, by names.
export function parse(value) {
  const names = new Map(value.categories.map(({ id, name }) => [id, name]));
  const images = new Map(value.images.map(({ id, file_name: name, width, height }) => [id, { name, width, height, boxes: [] }]));
  for (const { image_id, category_id, bbox } of value.annotations) {
    const { boxes } = images.get(image_id), category = names.get(category_id), [x, y, width, height] = bbox;
    if (category === undefined || bbox.length !== 4 || !bbox.every(Number.isFinite)) throw new Error('no box of a category');
    if (width > 0 && height > 0) boxes.push({ box: [x, y, x + width, y + height], category });
  }
  const found = [...images.values()];
  if (![...found.map(({ name }) => name), ...names.values()].every(name => typeof name === 'string')) throw new Error('a name is a text');
  return found;
}

// category -> the choice that it names, otherwise undefined. `classes` are {label, names, type}; a subtype is its type where it
// cannot be chosen.
export function vocabulary(choices, classes) {
  const found = new Map();
  const add = (words, label) => words.map(plain).forEach(word => { if (!found.has(word)) found.set(word, label); });
  for (const choice of choices) add([choice], choice);
  for (const { label, names } of classes) if (choices.includes(label)) add(names, label);
  for (const { label, names, type } of classes) if (choices.includes(type)) add([label, ...names], type);
  return category => found.get(plain(category));
}

function plain(word) {
  return word.toLowerCase().replace(/[\s_-]+/g, ' ').trim();
}

// What the images of a file mean for a review. {decided: [{cell, decision}] of found cells, added: [{picture, box, decision}] of
// further ones, same and left: boxes of cells that a person decided so or otherwise, outside: boxes in no field of the batch,
// unknown: categories of the others, one a box, absent: found cells that the file does not have}.
export function plan(images, review, labelOf) {
  const found = { decided: [], added: [], same: 0, left: 0, outside: 0, unknown: [], absent: 0 };
  const fields = pictures(images, review), person = decisions(review.steps), boxesOf = new Map();
  for (const image of images) {
    const field = fields.get(image);
    if (field) boxesOf.set(field, [...boxesOf.get(field) ?? [], ...image.boxes.map(each => ({ ...each, box: inField(each.box, image, field.size) }))]);
    else found.outside += image.boxes.length;
  }
  for (const [field, boxes] of boxesOf) planField(boxes, field, person, labelOf, found);
  return found;
}

function planField(given, field, person, labelOf, found) {
  const said = new Map(person), seen = new Set(), boxes = given.map(({ box, category }) => {
    const [most, cell] = field.cells.map(each => [overlap(box, each.place.box), each]).sort((a, b) => b[0] - a[0])[0] ?? [0];
    return { box, decision: labelOf(category), category, most, cell: most >= OVERLAP ? cell : null };
  });
  for (const { box, decision, category, cell } of boxes.sort((a, b) => b.most - a.most)) { // of two boxes the nearer one decides
    if (cell) seen.add(cell);
    if (box[0] >= box[2] || box[1] >= box[3]) found.outside += 1;
    else if (!decision) found.unknown.push(category);
    else if (!cell) found.added.push({ picture: field.picture, box, decision });
    else if (!said.has(cell.id)) { found.decided.push({ cell: cell.id, decision }); said.set(cell.id, decision); }
    else found[said.get(cell.id) === decision ? 'same' : 'left'] += 1;
  }
  found.absent += field.cells.filter(cell => !seen.has(cell) && !REJECTED.includes(person.get(cell.id))).length;
}

// A box of an image in whole pixels of a field, whose picture may be larger or smaller, and within it.
function inField([x0, y0, x1, y1], image, size) {
  const across = image.width ? size.width / image.width : 1, down = image.height ? size.height / image.height : 1;
  return boxOf({ x: x0 * across, y: y0 * down }, { x: x1 * across, y: y1 * down }, size);
}

// The intersection of two boxes over their union.
export function overlap(one, other) {
  const side = at => Math.max(0, Math.min(one[at + 2], other[at + 2]) - Math.max(one[at], other[at]));
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0), shared = side(0) * side(1);
  return shared / (area(one) + area(other) - shared) || 0;
}

// image -> {picture, name, size, cells}: the field of the batch whose path ends most like that of the image, and the other way. Of
// several of exactly one name the cells tell which are meant. An image that may be two fields is none.
function pictures(images, review) {
  const fields = Object.entries(review.fields).flatMap(([picture, size]) => {
    const cells = review.cells.filter(cell => pictureOf(cell) === picture && isOfField(cell));
    return cells.length ? [{ picture, size, name: cells[0].name, cells: cells.filter(cell => cell.place) }] : [];
  });
  const fieldOf = image => {
    const named = namesakes(image, fields), meant = named.length > 1 ? named.filter(field => isAnnotated(image, field)) : named;
    return meant.length === 1 ? meant[0] : null;
  };
  const isMeant = (image, field) => {
    const named = namesakes(field, images);
    return named.includes(image) && (named.length === 1 || isAnnotated(image, field));
  };
  const pairs = images.map(image => [image, fieldOf(image)]);
  return new Map(pairs.filter(([image, field]) => field && isSameShape(image, field.size) && isMeant(image, field)));
}

// Those of the others whose paths end most like that of one; none where these have more than one name.
function namesakes(one, others) {
  const ranked = others.map(other => [alike(one, other), other]), most = Math.max(0, ...ranked.map(([each]) => each));
  const found = ranked.filter(([each]) => each > 0 && each === most).map(([, other]) => other);
  return found.every(({ name }) => name === found[0].name) ? found : [];
}

// Whether half of an image's boxes, or as many as half of the cells, lie over cells of a field.
function isAnnotated({ boxes, ...image }, { cells, size }) {
  const over = boxes.filter(({ box }) => cells.some(cell => overlap(inField(box, image, size), cell.place.box) >= OVERLAP)).length;
  return over > 0 && 2 * over >= Math.min(boxes.length, cells.length);
}

// How many parts of two paths are the same, from the end. Label Studio puts eight digits before the name of a file.
function alike({ name }, other) {
  const parts = path => path.split(/[\\/]/).reverse(), one = parts(name), two = parts(other.name);
  const bare = file => file.replace(/^[0-9a-f]{8}-/, '');
  if (one[0] !== two[0]) return bare(one[0]) === two[0] || one[0] === bare(two[0]) ? 0.5 : 0;
  const differs = one.findIndex((part, at) => part !== two[at]);
  return differs < 0 ? one.length : differs;
}

function isSameShape({ width, height }, size) {
  return !width || !height || Math.abs(width / height / (size.width / size.height) - 1) <= SAME_SHAPE;
}
