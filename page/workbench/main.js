// The workbench: it ties the review, the store, the view and the server together. The browser owns the review; the server
// answers questions about it and keeps nothing.

import { outcome } from './annotation.js';
import { plan, vocabulary } from './coco.js';
import { Differential } from './differential.js';
import { bytes, download } from './download.js';
import { Dragging } from './dragging.js';
import { Field } from './field.js';
import { Intake } from './intake.js';
import { action } from './keys.js';
import {
  Reading, added, baseOf, canUseStatistics, choices, consistent, create, decisions, drawnCell, isLearntLast, isOfField, lastDrawn, lessons, modelName, nextNumber, nextSteps, pictureOf, redone, renamed, retaken, taken, toLabel, toLearn, undone, unlearnt, withAnswer, withCells, withLearnt, withRows, withSteps, withoutCells, wouldLose,
} from './review.js';
import { Said, Server } from './server.js';
import { Journal, open, webStorage } from './store.js';
import { Detail, Gallery } from './view.js';
import { counted, date, filled } from './words.js';

const CHUNK = 8; // pictures of one request: rows appear while the others are still classified
const AHEAD = 2; // requests under way at once
const AGAIN = ['busy', 'busy_fetching', 'gone', 'not_uploaded', 'hub_not_cached']; // failures that pass: a full server, a lost upload
const RETRY = [500, 1500, 4000, 8000]; // milliseconds before a failed request is sent again
const SHOWN = 'blood-cells-batch'; // which review a tab shows, so that a reload shows it again; empty for none

const local = webStorage('localStorage'), session = webStorage('sessionStorage');

export async function start({ root, server, upload, settings }) {
  followLanguage(settings);
  const workbench = new Workbench(root, server, upload, settings);
  await workbench.restore();
  for (const input of root.querySelectorAll('#upload input')) { // what was chosen before this module was loaded
    if (input.files.length && root.dataset.phase === 'empty') input.dispatchEvent(new Event('change'));
  }
  root.dataset.ready = '';
  return workbench;
}

class Workbench {
  constructor(root, server, upload, settings) {
    Object.assign(this, { root, settings, texts: settings.texts, server: new Server(server, upload, settings, words => this.say(words)) });
    this.review = null;
    this.redoable = [];
    this.sources = new Map(); // id of a picture -> its file, as long as this page is open
    this.run = 0;
    this.waiting = []; // what was added while others are classified, a list of each time
    this.annotated = []; // images of COCO files, whose boxes come to the batch once nothing is classified any more
    this.model = null; // {batch, file} of the model that names the cells of a batch in place of the one that classified them
    this.kept = null; // the file of a kept model that is to name the cells next
    this.under = ''; // what another model does to the cells at the moment: `learning`, `naming`
    this.saving = Promise.resolve();
    this.journal = new Journal();
    this.channel = new BroadcastChannel('blood-cells');
    this.channel.onmessage = event => this.refresh(event.data);
    this.find();
    this.at('#real').hidden = !settings.real_examples;
    this.listen();
    this.theme(local.getItem('blood-cells-theme') ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
  }

  at(selector) { return this.root.querySelector(selector); }

  find() {
    const on = {
      confirmGroup: name => this.confirmGroup(name), decide: choice => this.decide(choice), takeAs: cell => this.takeAs(cell),
      canTake: cell => this.sources.has(pictureOf(cell)) && this.root.dataset.phase === 'review',
    };
    this.gallery = new Gallery(this.at('#gallery'), this.settings, on);
    this.detail = new Detail(this.at('#detail'), this.settings, this.gallery, on);
    this.differential = new Differential(this.root, this.settings, this.server, this.gallery, () => this.reading());
    this.field = new Field(this.at('#field'), this.texts, this.gallery, {
      select: id => this.choose(id, false), add: (picture, box) => this.addCell(picture, box), enlarge: () => this.enlarge(!this.isLarge()),
    });
  }

  listen() {
    const on = (selector, event, handler) => this.at(selector).addEventListener(event, handler);
    new Intake(this.root, this.settings, {
      review: review => this.openReview(review), model: (file, isWithPictures) => this.takeModel(file, isWithPictures), pictures: known => this.takePictures(known),
      boxes: files => this.takeBoxes(files), say: words => this.say(words), isBusy: () => this.root.dataset.phase === 'classifying',
    });
    this.dragging = new Dragging(this.root, {
      start: id => { if (!this.gallery.selected.has(id)) this.choose(id); }, drop: choice => { if (this.choices().includes(choice)) this.decide(choice); },
    });
    on('#add', 'click', () => this.at('#adding').showModal());
    on('#classify', 'click', () => { this.say(''); this.classify(); });
    on('#examples', 'click', () => { this.say(''); this.classify(this.settings.drawn.map(label => ({ name: `${this.texts.drawn} ${this.gallery.name(label)}`, drawn: label })), false, 'cell'); });
    on('#real', 'click', () => this.real());
    for (const selector of ['#model', '#second']) on(selector, 'change', event => this.fetch(event.target));
    on('#cancel', 'click', () => this.cancel());
    on('#new', 'click', () => this.newBatch());
    on('#saliency', 'click', () => this.saliency());
    on('#undo', 'click', () => this.undo());
    on('#learn', 'click', () => this.learn());
    on('#keep_model', 'click', () => this.keepModel());
    on('#statistics', 'click', () => this.nameByStatistics());
    on('#redo', 'click', () => this.redo());
    on('#comment', 'input', event => this.note(event.target.value));
    on('#size', 'input', event => this.resize(Number(event.target.value)));
    on('#filter', 'change', event => this.setFilter(event.target.value));
    on('#save', 'click', () => this.saveFile());
    on('#help', 'click', () => this.at('#about').showModal());
    on('#ranges', 'click', () => this.differential.editRanges(this.review?.labels ?? []));
    on('#theme', 'click', () => this.theme(this.root.dataset.theme === 'dark' ? 'light' : 'dark'));
    for (const kind of ['csv', 'excel', 'report', 'coco']) on(`#${kind}`, 'click', () => this.export(kind));
    on('#gallery', 'click', event => this.click(event));
    on('#to_blast', 'click', () => this.toBlast());
    document.addEventListener('keydown', event => this.key(event));
  }

  // --- pictures ---

  takePictures(known) {
    const { phase } = this.root.dataset;
    if (phase === 'classifying') this.waiting.push(known);
    else if (phase === 'review') this.classify(known, true);
    else {
      this.waiting = [];
      this.willClassify(known);
    }
  }

  // Boxes as COCO JSON, which need the fields that they lie in.
  async takeBoxes(files) {
    this.annotated.push(...files.map(each => each.images));
    if (this.root.dataset.phase === 'review') await this.readBoxes();
    else this.say(this.texts.coco_waits.replace('{name}', files.map(each => each.name).join(', ')), true);
  }

  // What the button classifies; what waits follows it.
  willClassify(chosen) {
    this.chosen = chosen;
    this.at('#pictures').textContent = this.texts.chosen.replace('{count}', [chosen, ...this.waiting].flat().length);
    this.at('#classify').disabled = false;
  }

  // Real cells, one of each type, of a dataset on the Hub.
  async real() {
    this.say('');
    const answer = await this.server.ask('real_examples', {});
    if (answer) await this.classify(answer.examples, false, 'cell');
  }

  // A model of the Hub comes to the server's disk when a person chooses it.
  async fetch(select) {
    if (!select.value) return;
    this.say('');
    select.disabled = true;
    await this.server.ask('refresh', { model: select.value });
    select.disabled = false;
  }

  // Upload ZIPs to learn what they hold; every other file is uploaded with its chunk.
  async listed(chosen, archives) {
    const found = [], { limits } = this.settings;
    for (const each of chosen) {
      if (!each.file || !each.name.toLowerCase().endsWith('.zip')) { found.push(each); continue; }
      const { path } = await this.server.upload(each.file);
      archives.push(path);
      const answer = await this.server.call('open_archive', { path });
      if (answer.error) throw new Said(answer.error.text);
      found.push(...answer.entries.map(({ entry, name }) => ({ name, path, entry })));
    }
    if (found.length > limits.files) throw new Said(this.texts.errors.too_many.replace('{count}', found.length).replace('{most}', limits.files));
    return found;
  }

  // Classify what was chosen: as a new batch, or as further cells of the open one, by the models that it was started with. `how`
  // says what the pictures show: a field, a single cell, or whichever the server finds.
  async classify(chosen = this.chosen, isMore = false, how = 'auto') {
    if (!chosen?.length) return this.say(this.texts.errors.no_pictures);
    const run = ++this.run, archives = [];
    this.at('#progress').value = 0;
    this.at('#progress_words').textContent = '';
    if (isMore) this.phase('classifying');
    else this.begin();
    try {
      const sources = await this.listed(chosen, archives);
      if (run !== this.run) return;
      const { limits } = this.settings;
      if (this.review.cells.length + sources.length > limits.cells) throw new Said(this.texts.errors.batch_full.replace('{most}', limits.cells));
      const common = isMore ? this.common() : { ...this.common(), model: this.at('#model').value, second: this.at('#second').value };
      const tag = isMore ? `${Math.random().toString(36).slice(2, 10)}-` : ''; // two tabs may add to one batch
      await this.classifyAll(run, sources.map((source, index) => ({ ...source, id: `${tag}${index + 1}` })), { ...common, how });
    } catch (error) {
      if (run === this.run) this.say(this.server.reason(error));
    } finally {
      if (archives.length) this.server.call('discard', { paths: archives }).catch(() => {});
      if (run === this.run) this.ended();
    }
  }

  // What every request about cells of this batch says.
  common() {
    const { batch, second_model } = this.review;
    return { batch, model: modelName(baseOf(this.review)), second: modelName(second_model) };
  }

  // Nothing is classified any more; what was added meanwhile has its turn. Where the batch failed before its first cell, a person
  // starts it again, with the next of what waits before that which failed.
  ended() {
    const isBatch = this.review.cells.length > 0;
    this.phase(isBatch ? 'review' : 'empty');
    if (!this.waiting.length) {
      if (isBatch) this.readBoxes();
      return;
    }
    if (isBatch) { this.classify(this.waiting.shift(), true); return; }
    if (this.chosen) this.waiting.push(this.chosen);
    this.willClassify(this.waiting.shift());
  }

  // A batch that is stored with its first cells.
  begin() {
    this.review = create(crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, new Date().toISOString());
    this.redoable = [];
    this.model = null;
    this.sources.clear();
    this.gallery.clear();
    this.at('#comment').value = '';
    session.setItem(SHOWN, '');
    this.phase('classifying');
  }

  // `common` is what every request of this batch says, whatever is chosen on the page meanwhile.
  async classifyAll(run, sources, common) {
    const total = sources.length, began = performance.now();
    const chunks = [];
    for (let at = 0; at < total; at += CHUNK) chunks.push(sources.slice(at, at + CHUNK));
    for (const source of sources) if (source.file) this.sources.set(source.id, source.file);
    const under = [];
    let finished = 0;
    for (const chunk of chunks) {
      const answered = this.answer(run, chunk, common);
      answered.catch(() => {}); // heard below, unless the batch has ended before
      under.push(answered);
      if (under.length < AHEAD && chunk !== chunks.at(-1)) continue;
      while (under.length && (under.length >= AHEAD || chunk === chunks.at(-1))) {
        const answer = await under.shift();
        if (run !== this.run) return;
        if (answer.error) throw new Said(answer.error.text);
        finished += new Set(answer.cells.map(pictureOf)).size;
        await this.add(answer);
        this.progress(finished, total, performance.now() - began);
      }
    }
  }

  // One chunk's answer. It is asked again where the server or the network fails; the pictures are uploaded anew each time.
  async answer(run, chunk, common) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const sources = [];
        for (const { file, ...source } of chunk) {
          sources.push(file ? { ...source, path: (await this.server.upload(file)).path } : source);
        }
        const answer = await this.server.call('classify', { ...common, sources });
        if (!answer?.cells && !answer?.error) throw new Error('no answer');
        if (!AGAIN.includes(answer.error?.code) || attempt >= RETRY.length) return answer;
        if (answer.error.code === 'hub_not_cached') { // models of the Hub that left the server's disk since they were chosen
          for (const model of [common.model, common.second].filter(Boolean)) await this.server.ask('refresh', { model });
        }
        throw new Said(answer.error.text);
      } catch (error) {
        if (run !== this.run || attempt >= RETRY.length) throw error;
        this.say(error instanceof Said ? error.message : this.texts.errors.server_retry);
        await new Promise(resolve => setTimeout(resolve, RETRY[attempt]));
        this.say('');
      }
    }
  }

  // Further cells of the batch, in place of those in `gone`. Raises Said.
  async add(answer, gone = []) {
    const { second_model, cells } = this.review, model = baseOf(this.review);
    if (cells.length && (answer.model !== model || answer.second_model !== second_model)) { // the server has another version by now
      throw new Said(this.texts.errors.other_model.replace('{model}', model).replace('{found}', answer.model));
    }
    if (cells.length - gone.length + answer.cells.length > this.settings.limits.cells) throw new Said(this.texts.errors.batch_full.replace('{most}', this.settings.limits.cells));
    const kept = withoutCells(this.review, gone), head = withAnswer(kept, answer), added = head.cells.slice(kept.cells.length);
    this.review = head;
    session.setItem(SHOWN, head.batch);
    this.forget(gone);
    const change = async store => { await store.saveHead(head); await store.addCells(head.batch, added, gone); await store.addFields(head.batch, answer.fields); };
    await (cells.length ? this.keepIn(head.batch, change, gone) : this.keep(change));
    this.draw();
    if (!this.gallery.current) this.choose(added[0]?.id ?? this.gallery.visible()[0], false);
  }

  // Cells that are none any more leave the gallery, and steps about them cannot come back.
  forget(ids) {
    if (!ids.length) return;
    this.gallery.remove(ids);
    this.redoable = [];
  }

  progress(finished, total, milliseconds) {
    const left = Math.ceil((total - finished) * milliseconds / finished / 1000);
    this.at('#progress').value = finished / total;
    this.at('#progress_words').textContent = this.texts.progress.replace('{done}', finished).replace('{total}', total).replace('{seconds}', left);
  }

  cancel() {
    this.run += 1;
    this.waiting = [];
    this.ended();
  }

  // --- what is shown ---

  phase(name) {
    this.root.dataset.phase = name;
    if (name !== 'empty') this.draw();
  }

  reading() {
    const typeOf = label => this.gallery.classes.get(label)?.type ?? label;
    return new Reading(this.review, typeOf);
  }

  choices() {
    return choices(this.review);
  }

  draw() {
    if (!this.review) return;
    this.gallery.learn(this.review);
    const reading = this.reading();
    this.gallery.show(reading);
    this.showDetail(reading);
    this.showSummary(reading);
    this.differential.count(reading);
  }

  // What these steps changed.
  redraw(steps) {
    const reading = this.reading(), touched = new Set(steps.map(step => step.cell));
    this.gallery.update(this.review.cells.filter(cell => touched.has(cell.id)), reading);
    this.showDetail(reading);
    this.showSummary(reading);
    this.differential.count(reading);
  }

  showDetail(reading = this.reading()) {
    const cell = this.review.cells.find(each => each.id === this.gallery.current);
    this.detail.show(cell, reading, this.gallery.selected.size, this.choices());
    this.showField(cell, reading);
    this.at('#undo').disabled = !this.review.steps.length && !lastDrawn(this.review).length && !this.review.before;
    this.at('#redo').disabled = !this.redoable.length;
  }

  // The field of the selected cell.
  showField(cell, reading) {
    this.field.show(cell, reading);
    if (this.at('#field').hidden) this.enlarge(false);
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

  // The ids among which a person moves: of the cells of a large field by their numbers, otherwise of the gallery.
  ids() {
    if (!this.isLarge()) return this.gallery.visible();
    const { picture } = this.field, cells = this.review.cells.filter(cell => cell.place && pictureOf(cell) === picture);
    return cells.sort((a, b) => a.place.number - b.place.number).map(cell => cell.id);
  }

  showSummary(reading) {
    const found = reading.summary();
    const words = { all: found.pictures, review: found.review + found.disagree, unfamiliar: found.unfamiliar, changed: found.changed, undecided: found.pictures - found.decided, label: toLabel(this.review).length };
    for (const option of this.at('#filter').options) option.textContent = `${this.texts.filter[option.value]} ${words[option.value]}`;
    this.at('#reviewed').textContent = this.texts.reviewed.replace('{decided}', found.decided).replace('{total}', found.pictures);
    this.at('#batch').textContent = `${this.taken()} · ${this.review.model}${this.review.second_model ? ` · ${this.review.second_model}` : ''}`;
    this.at('#coco').hidden = !this.review.cells.some(cell => cell.place);
    this.warn(reading, found);
    this.warnOfBlasts(reading);
    this.showLearning();
  }

  // The button that learns, once there is enough to learn from, and what the last learning brought.
  showLearning() {
    const { cells, types } = lessons(this.review), { report } = this.review, { fewest } = this.settings.learning;
    const learn = this.at('#learn');
    learn.hidden = cells < fewest || types < 2;
    learn.disabled = Boolean(this.under) || this.root.dataset.phase !== 'review';
    learn.textContent = this.under === 'learning' ? this.texts.learning : this.texts.learn.replace('{count}', cells);
    const words = [report && this.named(report), this.under === 'naming' ? this.texts.naming : this.addedSince()].filter(Boolean).join(' ');
    if (this.at('#learnt_words').textContent !== words) this.at('#learnt_words').textContent = words; // a screen reader says it
    this.at('#learnt').hidden = !words;
    this.at('#statistics').hidden = Boolean(this.under) || !canUseStatistics(this.review, this.settings.statistics.fewest);
    this.at('#keep_model').hidden = this.model?.batch !== this.review.batch;
  }

  // Which other model names the cells, and what it brought.
  named({ kind, right, right_before: before, total, base, made, missing = {} }) {
    const values = { right, before, total, base, date: made && date(made, this.settings.language), renamed: renamed(this.review) };
    const wanted = Object.entries(missing).map(([label, count]) => `${count} ${this.gallery.name(label)}`).join(', ');
    const words = { kept: this.texts.kept, statistics: this.texts.statistics }[kind] ?? this.texts.learnt;
    return `${filled(words, values)}${wanted && ` ${this.texts.learn_missing.replace('{missing}', wanted)}`}`;
  }

  // Which cells it does not name, since they were added later and its file is not here.
  addedSince() {
    const count = added(this.review).length;
    if (!count || this.root.dataset.phase !== 'review') return '';
    const words = counted(this.texts.added_since, count, { model: baseOf(this.review) });
    return this.review.report.kind === 'statistics' ? words : `${words} ${this.texts.added_hint}`;
  }

  // How the pictures were taken, in words.
  taken() {
    const { fields, cells, single, error } = taken(this.review), { taken_fields, taken_cells, taken_single, status } = this.texts;
    return [
      fields && counted(taken_fields, fields, { cells: counted(taken_cells, cells) }), single && counted(taken_single, single), error && `${error} ${status.error}`,
    ].filter(Boolean).join(', ');
  }

  // The line at the top. It is written only where it changes, since a screen reader says it each time.
  warnOfBlasts(reading) {
    const { suspected, decided } = reading.blasts();
    const words = [[this.texts.blasts, suspected], [this.texts.blasts_decided, decided]].filter(([, count]) => count)
      .map(([each, count]) => counted(each, count)).join('. ');
    if (this.at('#to_blast').textContent !== words) this.at('#to_blast').textContent = words;
    this.at('#blasts').hidden = !words;
  }

  // To the first cell that may be a blast, or where all are decided to the first blast, whatever hides it.
  toBlast() {
    const reading = this.reading(), cells = reading.groups(this.gallery.order).flatMap(group => group.cells);
    const cell = cells.find(each => reading.isSuspected(each)) ?? cells.find(each => reading.isBlast(each));
    if (!cell) return;
    this.at('#filter').value = 'all';
    this.setFilter('all');
    this.gallery.unfold(reading.group(cell));
    this.choose(cell.id);
  }

  // One banner for a batch of which more than a quarter is unlike the training pictures, with one of them beside a drawn cell.
  warn(reading, { unfamiliar, pictures }) {
    const banner = this.at('#banner');
    banner.hidden = unfamiliar <= pictures / 4;
    if (banner.hidden) return;
    const cell = this.review.cells.find(each => each.picture && reading.isHeld(each) && reading.status(each) === 'unfamiliar');
    if (cell) this.at('#banner_cell').src = `data:image/jpeg;base64,${cell.picture}`;
    this.at('#banner_words').textContent = this.texts.banner_unfamiliar.replace('{count}', unfamiliar).replace('{total}', pictures);
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

  choose(id, focus = true, extend = false) {
    if (!this.gallery.cells.has(id)) return;
    const ids = this.ids();
    if (extend) {
      this.anchor ??= this.gallery.current;
      const [from, to] = [ids.indexOf(this.anchor), ids.indexOf(id)].sort((a, b) => a - b);
      this.gallery.select(ids.slice(Math.max(from, 0), to + 1), id, focus);
    } else {
      this.anchor = null;
      this.gallery.select([id], id, focus);
    }
    this.showDetail();
  }

  click(event) {
    const id = event.target.closest('[data-cell]')?.dataset.cell;
    if (!id || this.dragging.isUnderWay) return;
    if (event.ctrlKey || event.metaKey) {
      const ids = new Set(this.gallery.selected);
      ids[ids.has(id) ? 'delete' : 'add'](id);
      this.gallery.select(ids, id);
      this.showDetail();
    } else this.choose(id, true, event.shiftKey);
  }

  key(event) {
    const inside = this.root.contains(document.activeElement) || document.activeElement === document.body;
    if (!inside || this.root.dataset.phase === 'empty' || this.root.querySelector('dialog[open]') || !this.review?.cells.length) return;
    const typing = event.target.closest?.('textarea, select, input, [contenteditable]');
    const heading = event.target.closest?.('[data-heading]');
    const found = action(event, this.choices(), Boolean(typing), Boolean(heading));
    const onButton = event.target.closest?.('button:not([data-cell]):not([data-heading])');
    if (!found || (event.key === 'Enter' && onButton)) return;
    event.preventDefault();
    ({
      move: () => this.choose(this.gallery.neighbour(found.to, this.isLarge() ? this.ids() : null), true, found.extend),
      decide: () => this.decide(found.choice),
      confirm: () => this.confirm(),
      confirmGroup: () => this.confirmGroup(heading.dataset.heading),
      selectGroup: () => this.selectGroup(),
      undo: () => this.undo(),
      redo: () => this.redo(),
      nextGroup: () => this.toHeading(1),
      previousGroup: () => this.toHeading(-1),
      saliency: () => this.saliency(),
      size: () => this.resize(Number(this.at('#size').value) + 16 * found.by),
      help: () => this.at('#about').showModal(),
      deselect: () => (this.field.isAdding ? this.field.setAdding(false) : this.choose(this.gallery.current)),
    })[found.do]();
  }

  toHeading(by) {
    const headings = this.gallery.headings();
    const here = document.activeElement.closest('[data-heading]') ?? document.activeElement.closest('.group')?.querySelector('[data-heading]');
    headings[(headings.indexOf(here) + by + headings.length) % headings.length]?.focus();
  }

  selectGroup() {
    const ids = [...this.gallery.cells.get(this.gallery.current)?.parentElement.children ?? []].filter(each => !each.hidden).map(each => each.dataset.cell);
    this.gallery.select(ids, this.gallery.current);
    this.showDetail();
  }

  resize(side) {
    const size = Math.min(160, Math.max(40, side));
    this.at('#size').value = size;
    this.root.style.setProperty('--cell', `${size}px`);
  }

  setFilter(name) {
    this.proposed = new Set(name === 'label' ? toLabel(this.review) : []); // they stay while they are decided
    const tests = {
      all: () => true, changed: (cell, reading) => reading.isChanged(cell), undecided: (cell, reading) => !reading.decision(cell),
      label: cell => this.proposed.has(cell.id),
      review: (cell, reading) => reading.isHeld(cell) && reading.status(cell) !== 'unfamiliar', unfamiliar: (cell, reading) => reading.status(cell) === 'unfamiliar',
    };
    this.gallery.filter = tests[name];
    this.draw();
  }

  // --- decisions ---

  decide(choice) {
    const ids = [...this.gallery.selected], following = this.following(ids);
    this.step(ids, choice);
    this.choose(following);
  }

  // The cell to move on to: the next that is not decided, or at the end the one that is selected.
  following(ids) {
    const visible = this.ids(), decided = this.reading().decisions;
    const last = Math.max(...ids.map(id => visible.indexOf(id)));
    return visible.slice(last + 1).find(id => !decided.has(id)) ?? this.gallery.current;
  }

  // The model's word becomes the person's, for the selected cells. Of several, a cell that may be a blast is left out.
  confirm() {
    const reading = this.reading(), ids = [...this.gallery.selected], following = this.following(ids);
    this.stepEach(ids, cell => (ids.length === 1 || reading.isConfirmable(cell)) && reading.label(cell));
    this.choose(following);
  }

  confirmGroup(name) {
    const reading = this.reading();
    const group = reading.groups(this.gallery.order).find(each => each.name === name);
    const open = group?.cells.filter(cell => reading.isConfirmable(cell)).map(cell => cell.id) ?? [];
    this.stepEach(open, cell => reading.guess(cell));
    const headings = this.gallery.headings(), at = headings.findIndex(each => each.dataset.heading === name);
    const order = [...headings.slice(at + 1), ...headings.slice(0, at + 1)];
    order.find(each => !this.gallery.sections.get(each.dataset.heading).confirm.hidden)?.focus();
  }

  stepEach(ids, choose) {
    const cells = this.review.cells.filter(cell => ids.includes(cell.id) && choose(cell));
    this.decideEach(new Map(cells.map(cell => [cell.id, choose(cell)])));
  }

  // One step with a decision of its own for each cell: id -> decision.
  decideEach(decided) {
    const steps = nextSteps(this.review, [...decided.keys()], '', new Date().toISOString());
    this.apply(steps.map(step => ({ ...step, decision: decided.get(step.cell) })));
  }

  step(ids, decision) {
    this.apply(nextSteps(this.review, ids, decision, new Date().toISOString()));
  }

  apply(steps) {
    if (!steps.length) return;
    this.redoable = [];
    this.review = withSteps(this.review, steps);
    this.keepSteps(steps, []);
    this.redraw(steps);
  }

  // What a person did last goes: a key press, or drawn cells.
  undo() {
    if (!lastDrawn(this.review).length && isLearntLast(this.review)) return this.unlearn();
    const [review, back] = undone(this.review), { cells, steps } = back, gone = cells.map(cell => cell.id);
    if (!cells.length && !steps.length) return;
    this.review = review;
    this.redoable.push(back);
    if (steps.length) return this.moved([], steps);
    this.gallery.remove(gone);
    this.keepIn(review.batch, store => store.addCells(review.batch, [], gone), gone);
    this.draw();
    this.choose(review.cells.find(cell => pictureOf(cell) === pictureOf(cells[0]))?.id ?? this.gallery.visible()[0], false);
  }

  async redo() {
    const back = this.redoable.pop();
    if (!back) return;
    const review = this.review = redone(this.review, back), ids = new Set(back.cells.map(cell => cell.id));
    if (back.steps.length) return this.moved(back.steps, []);
    const cells = review.cells.filter(cell => ids.has(cell.id));
    await this.keepIn(review.batch, store => store.addCells(review.batch, cells));
    this.draw();
    this.choose(cells[0].id, false);
  }

  // Steps came or went, the first of which is shown.
  moved(added, removed) {
    const steps = [...added, ...removed];
    this.keepSteps(added, removed);
    this.redraw(steps);
    this.choose(steps[0].cell);
  }

  // --- other models for the same cells: one that learns from the decisions, one that was kept, or statistics of the batch ---

  // The answers of a model that learnt from the decisions take the place of those before. What is decided meanwhile stays.
  async learn() {
    const answer = await this.anew('learning', 'learn', toLearn(this.review));
    if (answer) {
      await this.rename(withLearnt(this.review, answer), new File([bytes(answer.folder)], `${modelName(baseOf(this.review))}-adapted.zip`, { type: 'application/zip' }));
    }
    this.nameRest();
  }

  // A kept model names the cells of the open batch, and otherwise those that are classified next.
  async takeModel(file, isWithPictures) {
    this.say('');
    if (this.root.dataset.phase !== 'empty') {
      this.kept = file;
      if (!isWithPictures) this.nameRest();
      return;
    }
    this.kept = null;
    this.at('#classify').disabled = true;
    this.at('#waiting').textContent = this.texts.kept_reading;
    const answer = await this.byModel(file, []);
    this.at('#classify').disabled = !this.chosen;
    this.at('#waiting').textContent = '';
    if (!answer) return;
    const { base, made, total } = answer.report;
    this.kept = file;
    if (this.settings.models.includes(base)) this.at('#model').value = base;
    this.at('#waiting').textContent = filled(this.texts.kept_waiting, { base, total, date: date(made, this.settings.language) });
    this.nameRest(); // of the examples, if they were classified meanwhile
  }

  // Cells that are to have the answers of another model: of a kept one all, of the one that named the rest those that were
  // added since. One that fails is not asked again by itself.
  async nameRest() {
    if (this.under || this.root.dataset.phase !== 'review') return;
    const { kept, model } = this, ids = new Set(added(this.review)), cells = toLearn(this.review);
    if (kept) {
      this.kept = null;
      const answer = await this.anew('naming', 'name_by_kept', cells, kept);
      if (answer) await this.rename(withLearnt(this.review, answer), kept);
    } else if (ids.size && model?.batch === this.review.batch) {
      const answer = await this.anew('naming', 'name_by_kept', cells.filter(({ id }) => ids.has(id)), model.file);
      if (answer && this.model === model) await this.rename(withRows(this.review, answer), model.file);
      if (!answer) return;
    } else return;
    this.nameRest();
  }

  async nameByStatistics() {
    const answer = await this.anew('naming', 'name_by_statistics', toLearn(this.review));
    if (answer) await this.rename(withLearnt(this.review, answer), null);
    this.nameRest();
  }

  // Another model's answers for cells of the open batch, or null where there are none, or another batch is open by then.
  async anew(under, name, cells, file = null) {
    const { batch } = this.review;
    this.say('');
    this.under = under;
    this.showLearning();
    const answer = file ? await this.byModel(file, cells) : await this.server.ask(name, { batch, model: baseOf(this.review), cells });
    this.under = '';
    if (answer && this.review?.batch === batch) return answer;
    if (this.review) this.showLearning();
    return null;
  }

  // What the model in a file says of cells.
  async byModel(file, cells) {
    const { batch = '' } = this.review ?? {}, model = this.review ? baseOf(this.review) : '';
    const uploaded = await this.server.upload(file).catch(() => null);
    if (uploaded) return this.server.ask('name_by_kept', { batch, model, path: uploaded.path, cells });
    this.say(this.texts.errors.server_gone);
    return null;
  }

  async unlearn() {
    await this.rename(unlearnt(this.review), null);
  }

  // Cells have other answers now, of the model in a file: shown, then stored.
  async rename(head, file) {
    this.review = head;
    if (this.model?.file !== file) this.model = file && { batch: head.batch, file };
    this.draw();
    await this.keepIn(head.batch, async store => { await store.saveAnswers(head.batch, head.cells); await store.saveHead(head); await store.saveModel(head.batch, file); });
  }

  keepModel() {
    download(this.model.file.name, this.model.file);
  }

  // The cell in a box that a person drew.
  async addCell(picture, box) {
    this.say('');
    await this.server.told(async () => {
      const id = await this.addBox(picture, box);
      this.choose(id, false);
    });
    this.nameRest();
  }

  // The id of a further cell of a field, null where another batch is open by now. `time` is that of the file with its box. Raises
  // Said. The server gets the file of the field, or the smaller picture that the review keeps.
  async addBox(picture, box, time) {
    const { batch, fields, cells } = this.review, { picture: small, width, height } = fields[picture], number = nextNumber(this.review, picture);
    const id = `${picture}.${number}-${Math.random().toString(36).slice(2, 8)}`; // two tabs may add to one field
    const file = this.sources.get(picture), uploaded = file && await this.server.upload(file).catch(() => null);
    const sent = uploaded ? { path: uploaded.path } : { picture: small };
    const name = cells.find(cell => pictureOf(cell) === picture).name;
    const answer = await this.server.answered('add_cell', { ...this.common(), source: picture, id, name, number, box, size: [width, height], ...sent });
    if (this.review?.batch !== batch) return null;
    this.redoable = [];
    await this.add({ ...answer, cells: answer.cells.map(cell => drawnCell(this.review, cell, time)) });
    return id;
  }

  // The boxes of COCO files come to the fields of the batch, one file after another; then a kept model names the cells. What went
  // wrong before goes on being said.
  async readBoxes() {
    if (this.isReading) return;
    this.isReading = true;
    const said = this.at('#said'), error = said.classList.contains('news') ? '' : said.textContent;
    let told = [error];
    while (this.annotated.length && this.root.dataset.phase === 'review') {
      const words = await this.readImages(this.annotated.shift());
      told = words ? [...told, words] : [];
      if (words) this.say(told.filter(Boolean).join(' '), !error);
    }
    this.isReading = false;
    this.nameRest();
  }

  // Boxes of found cells are decisions at once; the others become cells, one after another, and are decided together. A person's
  // own decision stands, also one that is made meanwhile. Says what came of it, nothing where another batch is open by now.
  async readImages(images) {
    const { batch } = this.review, time = new Date().toISOString();
    const found = plan(images, this.review, this.vocabulary()), added = new Map();
    let failed = 0, why = '';
    this.decideEach(new Map(found.decided.map(({ cell, decision }) => [cell, decision])));
    for (const { picture, box, decision } of found.added) {
      this.say(this.texts.coco_adding.replace('{count}', found.added.length), true);
      try {
        added.set(await this.addBox(picture, box, time), decision);
      } catch (refused) {
        failed += 1;
        why = this.server.reason(refused);
      }
      if (this.review?.batch !== batch) return '';
    }
    const person = decisions(this.review.steps);
    this.decideEach(new Map([...added].filter(([id]) => !person.has(id))));
    return outcome({ ...found, added: added.size, failed, why }, this.texts);
  }

  // Of the categories in a file, in both languages.
  vocabulary() {
    const own = [...this.review.classes, ...this.review.second_classes].map(({ name, english, spanish, cell_type: type }) => ({ label: name, names: [english, spanish], type }));
    const known = [...this.gallery.classes.values()].map(({ label, name, type }) => ({ label, names: [name], type }));
    const rejected = Object.entries(this.texts.choice).map(([label, name]) => ({ label, names: [name] }));
    return vocabulary(this.choices(), [...own, ...known, ...rejected]);
  }

  // A picture as a field in place of a single cell, or the other way. Other pictures stay as they are.
  async takeAs(cell) {
    const { batch } = this.review, id = pictureOf(cell), file = this.sources.get(id), how = isOfField(cell) ? 'cell' : 'field', run = this.run;
    this.say('');
    this.at('#take_as').disabled = true;
    const answer = await this.answer(run, [{ id, name: cell.name, file }], { ...this.common(), how }).catch(() => null);
    if (run !== this.run || this.review?.batch !== batch) return;
    if (!answer || answer.error) this.say(answer?.error.text ?? this.texts.errors.server_gone);
    else {
      const { gone, cells: further, lost } = retaken(this.review, id, answer.cells);
      if (!lost || confirm(this.texts.take_lost.replace('{count}', lost))) await this.server.told(() => this.add({ ...answer, cells: further }, gone));
    }
    this.showDetail();
    this.nameRest();
  }

  note(comment) {
    this.review = { ...this.review, comment };
    this.keepEntry({ batch: this.review.batch, added: [], removed: [], comment });
  }

  // --- keeping ---

  keepSteps(added, removed) {
    this.keepEntry({ batch: this.review.batch, added, removed });
  }

  // Steps and the comment go into a journal at once, which needs no waiting, and from there into the store: a page that is closed
  // in the same instant loses nothing.
  keepEntry(entry) {
    this.journal.add(entry);
    this.keepIn(entry.batch, store => store.change(entry)).then(stored => stored && this.journal.remove(entry));
  }

  // Changes are stored one after another; where the browser refuses, one line offers the file. Other tabs hear of it, and of cells
  // that are none any more.
  keep(change, gone = []) {
    this.saving = this.saving.then(async () => {
      try {
        await change(await (this.store ??= open()));
        this.channel.postMessage({ batch: this.review?.batch ?? '', gone });
        return true;
      } catch {
        this.unkept();
        return false;
      }
    });
    return this.saving;
  }

  // A change of a review that the store has. One that another tab removed is stored again, whole; one without a cell is not stored.
  keepIn(batch, change, gone = []) {
    return this.keep(async store => {
      if (await store.has(batch)) await change(store);
      else if (this.review?.batch === batch && this.review.cells.length) await store.put(this.review);
    }, gone);
  }

  unkept() {
    this.at('#unkept').hidden = false;
  }

  async restore() {
    const store = await (this.store ??= open());
    if (!store) this.unkept();
    for (const entry of this.journal.takeOver()) {
      try {
        if (await store.has(entry.batch)) await store.change(entry);
        this.journal.remove(entry);
      } catch { // refused: the journal goes on holding it
        this.unkept();
      }
    }
    const shown = session.getItem(SHOWN);
    const kept = shown === '' ? null : await store?.find(shown).catch(() => null);
    const file = kept && await store.model(kept.batch).catch(() => null);
    if (file) this.model = { batch: kept.batch, file };
    if (kept?.cells.length) this.show(this.journal.applied(kept));
    else this.phase('empty');
    this.nameRest(); // what was added just before the page was closed
  }

  show(review) {
    if (this.review?.batch !== review.batch) this.sources.clear(); // cells of two batches may have the same ids
    this.review = review;
    this.redoable = [];
    session.setItem(SHOWN, review.batch);
    this.gallery.clear();
    this.at('#comment').value = review.comment;
    this.phase('review');
    this.choose(this.gallery.visible()[0], false);
  }

  // Another tab changed this batch: its comment, steps and cells are read again. What is here alone stays.
  async refresh({ batch, gone = [] }) {
    if (batch !== this.review?.batch) return;
    this.review = withoutCells(this.review, gone);
    this.forget(gone);
    let saving, head, cells, fields;
    do { // what is done meanwhile must not be overwritten by what was read before it
      saving = this.saving;
      await saving;
      const store = await this.store;
      head = await store?.head(batch);
      cells = head && await store.cellCount(batch) > this.review?.cells.length ? await store.cells(batch) : [];
      fields = cells?.length ? await store.fields(batch) : {};
    } while (saving !== this.saving);
    if (!head || batch !== this.review?.batch) return;
    const { steps, comment } = this.journal.applied(head);
    const isSame = !cells.length && !gone.length && JSON.stringify(steps) === JSON.stringify(this.review.steps);
    this.review = withCells({ ...this.review, fields: { ...this.review.fields, ...fields }, steps, comment }, cells);
    if (this.at('#comment').value !== comment) this.at('#comment').value = comment;
    if (!isSame) this.draw();
    if (!this.gallery.current) this.choose(this.gallery.visible()[0], false);
  }

  async newBatch() {
    if (this.review?.steps.length && !confirm(this.texts.new_batch)) return;
    this.run += 1;
    const batch = this.review?.batch;
    this.review = null;
    this.kept = this.model = null;
    this.at('#waiting').textContent = '';
    this.waiting = [];
    this.annotated = [];
    session.setItem(SHOWN, '');
    this.gallery.clear();
    this.phase('empty');
    if (batch) await this.keep(store => store.remove(batch));
  }

  saveFile() {
    download(`review-${this.review.created.slice(0, 10)}.json`, new Blob([JSON.stringify(consistent(this.review))], { type: 'application/json' }));
  }

  // A saved review takes the place of what is open, which goes as with "New"; nothing goes without a question.
  async openReview(review) {
    const before = this.review;
    if (before && wouldLose(before, review) && !confirm(this.texts.open_review)) return;
    this.run += 1; // what is still being classified belongs to the batch before
    this.waiting = [];
    this.annotated = [];
    this.kept = this.model = null;
    this.say('');
    this.show(review);
    await this.keep(async store => {
      await store.put(review);
      if (before && before.batch !== review.batch) await store.remove(before.batch);
    });
  }

  // --- questions to the server ---

  async saliency() {
    const cell = this.review?.cells.find(each => each.id === this.gallery.current);
    const label = cell && this.reading().guess(cell);
    if (!label) return this.say(this.texts.errors.no_picture_of_cell);
    const file = !cell.place && this.sources.get(pictureOf(cell)); // of a cell in a field its own small picture
    const uploaded = file && await this.server.upload(file).catch(() => null);
    const picture = uploaded ? { path: uploaded.path } : { picture: cell.picture };
    const answer = await this.server.ask('saliency', { model: baseOf(this.review), label, ...picture });
    if (answer) this.detail.showSaliency(cell.id, answer.picture, uploaded ? answer.note : `${answer.note} ${this.texts.saliency_small}`);
  }

  async export(kind) {
    const answer = await this.server.ask('export', { kind, review: { ...consistent(this.review), fields: {} }, typical: this.differential.ranges() });
    if (!answer) return;
    download(answer.name, new Blob([bytes(answer.data)], { type: answer.type }));
  }
}

// The first page of a visit follows the browser's language, or the one that was used last; the links change it.
function followLanguage({ language, languages }) {
  const key = 'blood-cells-language';
  const wanted = local.getItem(key) ?? Object.keys(languages).find(code => navigator.language.startsWith(code));
  const isFirst = !session.getItem(key) && language === Object.keys(languages)[0]; // another address was chosen
  session.setItem(key, language);
  if (isFirst && wanted && wanted !== language && languages[wanted]) return location.replace(languages[wanted]);
  local.setItem(key, language);
  document.documentElement.lang = language;
}
