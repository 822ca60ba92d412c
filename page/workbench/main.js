// The workbench: it ties the review, what is shown of it and the server together. The browser owns the review; the server answers
// questions about it and keeps nothing.

import { Annotation } from './annotation.js';
import { Classification } from './classification.js';
import { Decisions } from './decisions.js';
import { Differential } from './differential.js';
import { bytes, download } from './download.js';
import { Dragging } from './dragging.js';
import { Editor } from './editor.js';
import { Field } from './field.js';
import { filterOf } from './filters.js';
import { Intake } from './intake.js';
import { Keeping } from './keeping.js';
import { action } from './keys.js';
import { followLanguage } from './language.js';
import { Learning } from './learning.js';
import { LearningPanel } from './learning_panel.js';
import { baseOf, choices, consistent, hasWork, pictureOf, wouldLose } from './review.js';
import { Selection } from './selection.js';
import { Server } from './server.js';
import { webStorage } from './store.js';
import { Summary, decidedWords } from './summary.js';
import { Detail, Gallery } from './view.js';
import { counted } from './words.js';

const local = webStorage('localStorage');

export async function start({ root, server, upload, settings }) {
  followLanguage(settings);
  const workbench = new Workbench(root, server, upload, settings);
  await workbench.restored;
  for (const input of root.querySelectorAll('#upload input')) { // what was chosen before this module was loaded
    if (input.files.length && root.dataset.phase === 'empty') input.dispatchEvent(new Event('change'));
  }
  root.dataset.ready = '';
  return workbench;
}

class Workbench {
  constructor(root, server, upload, settings) {
    Object.assign(this, { root, settings, texts: settings.texts, server: new Server(server, upload, settings, words => this.say(words)) });
    this.openEditor();
    this.buildView();
    this.buildWork();
    this.at('#real').hidden = !settings.real_examples;
    this.listen();
    this.theme(local.getItem('blood-cells-theme') ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
    this.restored = this.restore();
  }

  at(selector) { return this.root.querySelector(selector); }

  get review() { return this.editor.review; }

  // The review, where it is kept, and who shows it.
  openEditor() {
    this.keeping = new Keeping(() => this.review, {
      changed: message => this.editor.refresh(message), refused: () => this.notKept(), model: () => this.editor.model?.file ?? null,
    });
    this.editor = new Editor(this.keeping, {
      phase: name => this.phase(name), clear: comment => { this.gallery.clear(); this.field.clear(); this.at('#filter').value = 'all'; this.at('#comment').value = comment; }, comment: words => this.comment(words),
      draw: () => this.draw(), redraw: steps => this.redraw(steps), remove: ids => this.gallery.remove(ids),
      choose: id => this.selection.choose(id), show: id => this.selection.show(id), ensure: id => this.selection.ensure(id),
    }, this.settings);
  }

  // What shows the review, and what a person does with it.
  buildView() {
    const { root, settings, texts, server, editor } = this;
    const on = {
      confirmGroup: name => this.decisions.confirmGroup(name), decide: choice => this.decisions.decide(choice), takeAs: cell => this.takeAs(cell),
      folded: () => this.selection.narrow(), canTake: cell => editor.sources.has(pictureOf(cell)) && editor.phase === 'review',
    };
    this.gallery = new Gallery(this.at('#gallery'), settings, on);
    this.detail = new Detail(this.at('#detail'), settings, this.gallery, on);
    this.field = new Field(this.at('#field'), texts, this.gallery, {
      select: id => this.selection.show(id), add: (picture, box) => this.annotation.addCell(picture, box), enlarge: () => this.enlarge(!this.isLarge()),
    });
    this.selection = new Selection(this.gallery, editor, () => (this.isLarge() ? this.field.picture : null), () => this.showDetail());
    this.decisions = new Decisions(this.gallery, this.selection, editor);
    this.differential = new Differential(root, settings, server, this.gallery, () => this.review && this.reading());
    this.summary = new Summary(root, texts);
    this.dragging = new Dragging(root, {
      start: id => { if (!this.gallery.selected.has(id)) this.selection.choose(id); },
      drop: choice => { if (choices(this.review).includes(choice)) this.decisions.decide(choice); },
    });
  }

  // What changes the review with the server's answers.
  buildWork() {
    const { root, settings, server, editor, gallery } = this, say = (words, isNews) => this.say(words, isNews);
    this.learning = new Learning(settings, server, editor, {
      say, changed: () => this.panel.show(), reading: isReading => this.readingModel(isReading), chosen: (words, base) => this.chosenModel(words, base),
    });
    this.panel = new LearningPanel(root, settings, gallery, editor, this.learning);
    this.annotation = new Annotation(settings, server, editor, () => [...gallery.classes.values()], {
      say, error: () => (this.at('#said').classList.contains('news') ? '' : this.at('#said').textContent),
      selected: () => this.selection.selected().join(), added: id => this.selection.choose(id, false), ended: () => this.learning.nameRest(),
    });
    this.classification = new Classification(settings, server, editor, {
      say, models: () => ({ model: this.at('#model').value, second: this.at('#second').value }),
      chosen: count => this.chosenPictures(count), progress: (share, words) => this.progress(share, words),
      left: count => this.leftPictures(count), ended: () => this.annotation.readBoxes(), retaken: () => { this.showDetail(); this.learning.nameRest(); },
    });
    this.intake = new Intake(root, settings, {
      ready: () => this.restored, review: review => this.openReview(review), model: (file, isWithPictures) => this.learning.take(file, isWithPictures),
      pictures: chosen => this.classification.take(chosen), boxes: files => this.annotation.take(files), say, isBusy: () => this.isClassifying(),
    });
  }

  listen() {
    const on = (selector, event, handler) => this.at(selector).addEventListener(event, handler);
    on('#add', 'click', () => this.at('#adding').showModal());
    on('#classify', 'click', () => { this.say(''); this.classification.classify(); });
    on('#examples', 'click', () => this.drawn());
    on('#real', 'click', () => this.real());
    for (const selector of ['#model', '#second']) on(selector, 'change', event => this.fetch(event.target));
    on('#cancel', 'click', () => this.classification.cancel());
    on('#go_on', 'click', () => { this.say(''); this.classification.goOn(); });
    on('#new', 'click', () => this.newBatch());
    on('#saliency', 'click', () => this.saliency());
    on('#undo', 'click', () => this.editor.undo());
    on('#learn', 'click', () => this.learning.learn());
    on('#keep_model', 'click', () => download(this.editor.model.file.name, this.editor.model.file));
    on('#statistics', 'click', () => this.learning.nameByStatistics());
    on('#redo', 'click', () => this.editor.redo());
    on('#comment', 'input', event => this.editor.note(event.target.value));
    on('#size', 'input', event => this.resize(Number(event.target.value)));
    on('#filter', 'change', event => this.setFilter(event.target.value));
    on('#save', 'click', () => this.saveFile());
    on('#help', 'click', () => this.at('#about').showModal());
    on('#ranges', 'click', () => this.differential.editRanges(this.review?.labels ?? []));
    on('#theme', 'click', () => this.theme(this.root.dataset.theme === 'dark' ? 'light' : 'dark'));
    for (const kind of ['csv', 'excel', 'report', 'coco']) on(`#${kind}`, 'click', () => this.export(kind));
    on('#gallery', 'click', event => { if (!this.dragging.isUnderWay) this.selection.click(event); });
    on('#to_blast', 'click', () => this.toBlast());
    document.addEventListener('keydown', event => this.key(event));
    addEventListener('online', () => this.differential.again());
    addEventListener('beforeunload', event => this.leave(event));
  }

  key(event) {
    const isHere = this.root.contains(document.activeElement) || document.activeElement === document.body;
    if (!isHere || this.editor.phase === 'empty' || this.root.querySelector('dialog[open]') || !this.review?.cells.length) return;
    const typing = event.target.closest?.('textarea, select, input, [contenteditable]');
    const heading = event.target.closest?.('[data-heading]');
    const found = action(event, choices(this.review), Boolean(typing), Boolean(heading));
    const onButton = event.target.closest?.('a, summary, button:not([data-cell]):not([data-heading])');
    if (!found || (event.key === 'Enter' && onButton)) return;
    event.preventDefault();
    ({
      move: () => this.selection.move(found.to, found.extend),
      decide: () => this.decisions.decide(found.choice),
      confirm: () => this.decisions.confirm(),
      confirmGroup: () => this.decisions.confirmGroup(heading.dataset.heading),
      selectGroup: () => this.selection.selectGroup(),
      undo: () => this.editor.undo(),
      redo: () => this.editor.redo(),
      nextGroup: () => this.selection.toHeading(1),
      previousGroup: () => this.selection.toHeading(-1),
      saliency: () => this.saliency(),
      size: () => this.resize(Number(this.at('#size').value) + 16 * found.by),
      help: () => this.at('#about').showModal(),
      deselect: () => (this.field.isAdding ? this.field.setAdding(false) : this.selection.choose(this.gallery.current)),
    })[found.do]();
  }

  // --- what is shown ---

  phase(name) {
    this.root.dataset.phase = name;
    if (name !== 'empty') this.draw();
  }

  reading() {
    return this.gallery.reading(this.review);
  }

  draw() {
    if (!this.review) return;
    this.gallery.learn(this.review);
    const reading = this.reading();
    this.gallery.show(reading);
    this.showRest(reading);
  }

  // What these steps changed.
  redraw(steps) {
    const reading = this.reading(), touched = new Set(steps.map(step => step.cell));
    const cells = this.review.cells.filter(cell => touched.has(cell.id));
    this.gallery.update(cells, reading);
    this.showRest(reading);
    this.at('#decided').textContent = decidedWords(cells, reading, this.texts, label => this.gallery.name(label));
  }

  showRest(reading) {
    this.showDetail(reading);
    this.summary.show(reading);
    this.panel.show();
    this.differential.count(reading);
  }

  showDetail(reading = this.reading()) {
    const cell = this.selection.current();
    this.detail.show(cell, reading, this.gallery.selected.size, choices(this.review));
    this.field.show(cell, reading);
    if (this.at('#field').hidden) this.enlarge(false);
    this.at('#undo').disabled = !this.editor.canUndo();
    this.at('#redo').disabled = !this.editor.canRedo();
  }

  // The field in place of the gallery, or beside it.
  enlarge(isLarge) {
    if (isLarge === this.isLarge()) return;
    this.at(isLarge ? '.left' : 'aside').prepend(this.at('#field'));
    this.field.enlarge.textContent = isLarge ? this.texts.field_smaller : this.texts.field_larger;
  }

  isLarge() {
    return this.at('.left > #field') !== null;
  }

  // To the first cell that may be a blast, or where all are decided to the first blast, whatever hides it.
  toBlast() {
    const reading = this.reading(), cells = reading.groups(this.gallery.order).flatMap(group => group.cells);
    const cell = cells.find(each => reading.isSuspected(each)) ?? cells.find(each => reading.isBlast(each));
    if (!cell) return;
    this.at('#filter').value = 'all';
    this.setFilter('all');
    this.gallery.unfold(reading.group(cell));
    this.selection.choose(cell.id);
  }

  setFilter(name) {
    this.gallery.filter = filterOf(name, this.review);
    this.draw();
    this.selection.narrow();
  }

  resize(side) {
    const size = Math.min(160, Math.max(40, side));
    this.at('#size').value = size;
    this.root.style.setProperty('--cell', `${size}px`);
  }

  theme(name) {
    this.root.dataset.theme = name;
    local.setItem('blood-cells-theme', name);
  }

  // A sentence at the top, of what went wrong unless `isNews`.
  say(words, isNews = false) {
    this.at('#said').textContent = words;
    this.at('#said').hidden = !words;
    this.at('#said').classList.toggle('news', isNews);
  }

  notKept() {
    this.at('#unkept').hidden = false;
  }

  comment(words) {
    if (this.at('#comment').value !== words) this.at('#comment').value = words;
  }

  progress(share, words) {
    this.at('#progress').value = share;
    this.at('#progress_words').textContent = words;
  }

  chosenPictures(count) {
    this.at('#pictures').textContent = count ? this.texts.chosen.replace('{count}', count) : '';
    this.at('#classify').disabled = !count;
  }

  leftPictures(count) {
    this.at('#left').hidden = !count;
    this.at('#left_words').textContent = count ? counted(this.texts.not_classified, count) : '';
  }

  readingModel(isReading) {
    this.at('#classify').disabled = isReading || !this.classification.chosen;
    this.at('#waiting').textContent = isReading ? this.texts.kept_reading : '';
  }

  chosenModel(words, base) {
    if (this.settings.models.includes(base)) this.at('#model').value = base;
    this.at('#waiting').textContent = words;
  }

  takeAs(cell) {
    this.at('#take_as').disabled = true;
    this.detail.forget();
    this.classification.takeAs(cell);
  }

  // --- which batch is open ---

  // The batch that was open comes back; until then the page takes nothing.
  async restore() {
    const found = await this.keeping.restore().catch(() => this.notKept());
    if (found) this.editor.open(found.review, found.file);
    else this.editor.enter('empty');
    this.learning.nameRest(); // what was added just before the page was closed
  }

  // Drawn cells, one of each type.
  drawn() {
    this.say('');
    this.classification.classify(this.settings.drawn.map(label => ({ name: `${this.texts.drawn} ${this.gallery.name(label)}`, drawn: label })), false, 'cell');
  }

  // Real cells, one of each type, of a dataset on the Hub.
  async real() {
    this.say('');
    const answer = await this.server.ask('real_examples', {});
    if (answer && this.editor.phase === 'empty') await this.classification.classify(answer.examples, false, 'cell');
  }

  async newBatch() {
    if (this.review && (this.isClassifying() || hasWork(this.review)) && !confirm(this.texts.new_batch)) return;
    const batch = this.review?.batch;
    this.drop();
    this.editor.close();
    if (batch) await this.keeping.keep(batch, store => store.remove(batch));
  }

  // A saved review takes the place of what is open, which goes as with "New"; nothing goes without a question.
  async openReview(review) {
    const stored = await this.keeping.stored(review.batch), before = this.review; // another tab may have gone on with it
    const isLoss = this.isClassifying() || [before, stored].some(each => each && wouldLose(each, review));
    if (isLoss && !confirm(this.texts.open_review)) return;
    this.drop();
    this.say('');
    this.editor.open(review);
    const isStored = await this.keeping.keep(review.batch, store => store.put(review));
    if (isStored && before && before.batch !== review.batch) await this.keeping.keep(before.batch, store => store.remove(before.batch));
  }

  // What the browser asks before the page goes: while pictures or boxes are on their way, and where it keeps nothing.
  leave(event) {
    const isUnkept = !this.at('#unkept').hidden && this.review?.cells.length > 0;
    if (this.isClassifying() || this.annotation.adding || isUnkept) event.preventDefault();
  }

  isClassifying() {
    return this.editor.phase === 'classifying';
  }

  // What is under way, and what waits, belongs to the batch that was open.
  drop() {
    for (const each of [this.classification, this.annotation, this.learning]) each.drop();
  }

  // --- questions to the server, and files to take away ---

  // A model of the Hub comes to the server's disk when a person chooses it.
  async fetch(select) {
    if (!select.value) return;
    this.say('');
    select.disabled = true;
    await this.server.ask('refresh', { model: select.value });
    select.disabled = false;
  }

  async saliency() {
    const cell = this.selection.current(), label = cell && this.reading().guess(cell);
    if (!label) return this.say(this.texts.errors.no_picture_of_cell);
    const answer = await this.server.ask('saliency', { model: baseOf(this.review), label, picture: cell.picture, framed: cell.framed === true });
    if (answer) this.detail.showSaliency(cell, answer.picture, answer.note);
  }

  async export(kind) {
    const answer = await this.server.ask('export', { kind, review: { ...consistent(this.review), fields: {} }, typical: this.differential.ranges() });
    if (answer) download(answer.name, new Blob([bytes(answer.data)], { type: answer.type }));
  }

  saveFile() {
    download(`review-${this.review.created.slice(0, 10)}.json`, new Blob([JSON.stringify(consistent(this.review))], { type: 'application/json' }));
  }
}
