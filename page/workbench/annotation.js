// Boxes of cells that the page did not find: those that a person draws, and those of COCO files.

import { plan, vocabulary } from './coco.js';
import { choices, decisions, isOfField, nextNumber, pictureOf, requestOf } from './review.js';
import { Said } from './server.js';
import { counted } from './words.js';

// What came of the boxes of a file, in words.
export function outcome({ decided, added, same, left, unknown, failed, why, outside, absent }, texts) {
  const { coco_read: read, coco_parts: parts } = texts;
  const counts = { decided: decided.length, added, same, left, unknown: unknown.length, failed };
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const words = Object.entries(counts).filter(([, count]) => count).map(([part, count]) => counted(parts[part], count));
  const first = [counted(read, total), words.join(', ')].filter(Boolean).join(': ').replace('{names}', [...new Set(unknown)].join(', ')).replace('{why}', why);
  const others = [[texts.coco_outside, outside], [texts.coco_absent, absent]].filter(([, count]) => count).map(([each, count]) => counted(each, count));
  return `${[first, ...others].join('; ')}.`;
}

export class Annotation {
  // `known` gives the classes that the page knows, {label, name, type}. `on`: say(words, isNews), error() that is said at the
  // moment, selected(), added(id) of a drawn cell, ended() once the batch has the cells of all boxes.
  constructor({ texts }, server, editor, known, on) {
    Object.assign(this, { texts, server, editor, known, on });
    this.waiting = []; // images of COCO files, whose boxes come to the batch once nothing is classified any more
    this.isReading = false;
    this.adding = 0; // drawn boxes that are under way
  }

  // COCO files, {name, images}, whose boxes need the fields that they lie in.
  async take(files) {
    this.waiting.push(...files.map(each => each.images));
    if (this.editor.phase === 'review') await this.readBoxes();
    else this.on.say(this.texts.coco_waits.replace('{name}', files.map(each => each.name).join(', ')), true);
  }

  // What waits is of a batch that is open no more.
  drop() {
    this.waiting = [];
    this.isReading = false;
  }

  // The cell in a box that a person drew. Whether it came; of a batch that is open no more none is missed.
  async addCell(picture, box) {
    const { batch } = this.editor.review, before = this.on.selected(), isOpen = () => this.editor.review?.batch === batch;
    this.on.say(counted(this.texts.coco_adding, 1), true);
    this.adding += 1;
    try {
      const id = await this.server.again(() => this.addBox(picture, box), isOpen);
      if (isOpen() && !this.on.error()) this.on.say('');
      if (this.on.selected() === before) this.on.added(id); // a person who went on stays where the next key is meant to be
    } catch (error) {
      if (isOpen()) this.on.say(this.server.reason(error));
      return !isOpen();
    } finally {
      this.adding -= 1;
      this.on.ended();
    }
    return true;
  }

  // The id of a further cell of a field, null where another batch is open by now. `time` is that of the file with its box. Raises
  // Said. The server gets the file of the field, or the smaller picture that the review keeps.
  async addBox(picture, box, time) {
    const { review } = this.editor, { batch, fields, cells } = review, { picture: small, width, height } = fields[picture], number = nextNumber(review, picture);
    const id = `${picture}.${number}-${Math.random().toString(36).slice(2, 8)}`; // two tabs may add to one field
    const file = this.editor.fileOf(picture), uploaded = file && await this.server.upload(file).catch(() => null);
    const sent = uploaded ? { path: uploaded.path } : { picture: small };
    const name = cells.find(cell => pictureOf(cell) === picture).name;
    const answer = await this.server.answered('add_cell', { ...requestOf(this.editor.review), source: picture, id, name, number, box, size: [width, height], ...sent });
    if (this.editor.review?.batch !== batch) return null;
    const isField = this.editor.review.cells.some(cell => pictureOf(cell) === picture && isOfField(cell));
    if (!isField) throw new Said(this.texts.errors.single_by_now); // or its cell would be counted twice
    await this.editor.addDrawn(answer, time);
    return id;
  }

  // The boxes of COCO files come to the fields of the batch, one file after another; then a kept model names the cells. What went
  // wrong before goes on being said.
  async readBoxes() {
    if (this.isReading) return;
    this.isReading = true;
    const { batch } = this.editor.review;
    const error = this.on.error();
    let told = [error];
    while (this.waiting.length && this.editor.phase === 'review') {
      const words = await this.readImages(this.waiting.shift());
      if (this.editor.review?.batch !== batch) return; // whose own boxes may be read by now
      told = words ? [...told, words] : [];
      if (words) this.on.say(told.filter(Boolean).join(' '), !error);
    }
    this.isReading = false;
    this.on.ended();
  }

  // Boxes of found cells are decisions at once; the others become cells, one after another, and are decided together. A person's
  // own decision stands, also one that is made meanwhile. Says what came of it, nothing where another batch is open by now.
  async readImages(images) {
    const { editor } = this, { batch } = editor.review, time = new Date().toISOString();
    const found = plan(images, editor.review, this.vocabulary()), added = new Map();
    let failed = 0, why = '';
    editor.decideEach(new Map(found.decided.map(({ cell, decision }) => [cell, decision])));
    for (const { picture, box, decision } of found.added) {
      this.on.say(counted(this.texts.coco_adding, found.added.length), true);
      try {
        added.set(await this.addBox(picture, box, time), decision);
      } catch (refused) {
        failed += 1;
        why = this.server.reason(refused);
      }
      if (editor.review?.batch !== batch) return '';
    }
    const person = decisions(editor.review.steps);
    editor.decideEach(new Map([...added].filter(([id]) => !person.has(id))));
    return outcome({ ...found, added: added.size, failed, why }, this.texts);
  }

  // Of the categories in a file, in both languages.
  vocabulary() {
    const { review } = this.editor;
    const own = [...review.classes, ...review.second_classes].map(({ name, english, spanish, cell_type: type }) => ({ label: name, names: [english, spanish], type }));
    const known = this.known().map(({ label, name, type }) => ({ label, names: [name], type }));
    const rejected = Object.entries(this.texts.choice).map(([label, name]) => ({ label, names: [name] }));
    return vocabulary(choices(review), [...own, ...known, ...rejected]);
  }
}
