// Pictures become cells of the open batch: in small requests, a few at once, each sent again where the server or the network fails.

import { isOfField, pictureOf, requestOf, retaken } from './review.js';
import { AGAIN, RETRY, Said } from './server.js';
import { counted } from './words.js';

const CHUNK = 8; // pictures of one request: rows appear while the others are still classified
const AHEAD = 2; // requests under way at once

// What tells a picture from any other, also in a ZIP.
function identity({ name, file, entry }) {
  return JSON.stringify([name, file.size, file.lastModified, entry]);
}

export class Classification {
  // `on`: models() that a new batch is started with, {model, second}; say(words), progress(share, words), and chosen(count) of the
  // pictures that wait for a person; left(count) of those that had no answer, ended() after the last cell, retaken() after a picture
  // was taken in another way.
  constructor({ limits, texts }, server, editor, on) {
    Object.assign(this, { limits, texts, server, editor, on });
    this.run = 0; // the number of what is classified at the moment: an answer to another run is dropped
    this.chosen = null; // what the button classifies
    this.waiting = []; // what was added while others are classified, a list of each time
    this.open = []; // what is classified at the moment and has no answer yet
    this.left = []; // what had no answer, with which a person may go on
  }

  // Pictures and ZIPs that a person chose join the batch that is open; without one they wait for the button.
  take(chosen) {
    const { phase } = this.editor;
    if (phase === 'classifying') this.waiting.push(chosen);
    else if (phase === 'review') this.classify(chosen, true);
    else {
      this.waiting = [];
      this.willClassify(chosen);
    }
  }

  // What the button classifies, null for nothing; what waits follows it.
  willClassify(chosen) {
    this.chosen = chosen;
    this.on.chosen(chosen ? [chosen, ...this.waiting].flat().length : 0);
  }

  // Classify what was chosen: as a new batch, or as further cells of the open one, by the models that it was started with. `how`
  // says what the pictures show: a field, a single cell, or whichever the server finds.
  async classify(chosen = this.chosen, isMore = false, how = 'auto') {
    if (!chosen?.length) return this.on.say(this.texts.errors.no_pictures);
    const run = ++this.run, archives = [];
    this.open = chosen;
    this.on.progress(0, '');
    if (isMore) this.editor.enter('classifying');
    else this.editor.begin();
    try {
      const listed = await this.listed(chosen, archives);
      if (run !== this.run) return;
      const sources = isMore ? this.further(listed) : listed;
      const { review } = this.editor;
      if (review.cells.length + sources.length > this.limits.cells) throw new Said(this.texts.errors.batch_full.replace('{most}', this.limits.cells));
      const common = isMore ? requestOf(review) : { ...requestOf(review), ...this.on.models() };
      const tag = isMore ? `${Math.random().toString(36).slice(2, 10)}-` : ''; // two tabs may add to one batch
      await this.classifyAll(run, sources.map((source, index) => ({ ...source, id: `${tag}${index + 1}` })), { ...common, how });
    } catch (error) {
      if (run !== this.run) return;
      if (error instanceof Said && !error.code) this.open = []; // the page's own refusal, which would come again
      this.on.say(this.server.reason(error));
    } finally {
      if (archives.length) this.server.call('discard', { paths: archives }).catch(() => {});
      if (run === this.run) this.ended();
    }
  }

  // Upload ZIPs to learn what they hold; every other file is uploaded with its chunk.
  async listed(chosen, archives) {
    const found = [], { limits, texts } = this;
    for (const each of chosen) {
      if (!each.file || !each.name.toLowerCase().endsWith('.zip')) { found.push(each); continue; }
      const { path } = await this.server.upload(each.file);
      archives.push(path);
      const answer = await this.server.call('open_archive', { path });
      if (answer.error) throw new Said(answer.error.text);
      found.push(...answer.entries.map(({ entry, name }) => ({ name, path, entry, archive: each.file })));
    }
    if (found.length > limits.files) throw new Said(texts.errors.too_many.replace('{count}', found.length).replace('{most}', limits.files));
    return found;
  }

  // Pictures that are not in the batch yet; how many are is said.
  further(listed) {
    const known = new Set([...this.editor.sources.values()].map(identity));
    const found = listed.filter(({ archive, file = archive, ...each }) => !file || !known.has(identity({ ...each, file })));
    if (found.length < listed.length) this.on.say(counted(this.texts.pictures_known, listed.length - found.length), true);
    return found;
  }

  // `common` is what every request of this batch says, whatever is chosen on the page meanwhile.
  async classifyAll(run, sources, common) {
    const total = sources.length, began = performance.now();
    const chunks = [];
    for (let at = 0; at < total; at += CHUNK) chunks.push(sources.slice(at, at + CHUNK));
    this.open = sources;
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
        if (answer.error) throw new Said(answer.error.text, answer.error.code);
        const ids = new Set(answer.cells.map(pictureOf));
        finished += ids.size;
        for (const { id, name, archive, file = archive, entry } of sources) if (file && ids.has(id)) this.editor.sources.set(id, { name, file, entry });
        this.open = this.open.filter(({ id }) => !ids.has(id));
        await this.editor.add(answer);
        if (run !== this.run) return;
        if (this.chosen) this.willClassify(null); // they are cells now, and none of the next batch
        this.progress(finished, total, performance.now() - began);
      }
    }
  }

  // One chunk's answer. It is asked again where the server or the network fails; the pictures are uploaded anew each time.
  async answer(run, chunk, common) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const sources = [];
        for (const { file, archive, ...source } of chunk) {
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
        this.on.say(error instanceof Said ? error.message : this.texts.errors.server_retry);
        await new Promise(resolve => setTimeout(resolve, RETRY[attempt]));
        this.on.say('');
      }
    }
  }

  // The answer about one picture that was classified before. Of a ZIP the whole is uploaded anew, and deleted afterwards.
  async again(run, picture, common) {
    const { file, entry } = this.editor.sources.get(picture.id);
    if (entry === undefined) return this.answer(run, [{ ...picture, file }], common);
    const { path } = await this.server.upload(file);
    try {
      return await this.answer(run, [{ ...picture, path, entry }], common);
    } finally {
      this.server.call('discard', { paths: [path] }).catch(() => {});
    }
  }

  progress(finished, total, milliseconds) {
    const left = Math.ceil((total - finished) * milliseconds / finished / 1000);
    this.on.progress(finished / total, this.texts.progress.replace('{done}', finished).replace('{total}', total).replace('{seconds}', left));
  }

  // Nothing is classified any more; what had no answer is left, and what was added meanwhile has its turn. Where the batch failed before its first cell, a person
  // starts it again, with the next of what waits before that which failed.
  ended() {
    const isBatch = this.editor.review.cells.length > 0;
    this.editor.enter(isBatch ? 'review' : 'empty');
    if (isBatch) this.leave([...this.left, ...this.open.filter(({ file, archive }) => file || archive)]);
    if (!this.waiting.length) {
      if (isBatch) this.on.ended();
      return;
    }
    if (isBatch) { this.classify(this.waiting.shift(), true); return; }
    if (this.chosen) this.waiting.push(this.chosen);
    this.willClassify(this.waiting.shift());
  }

  leave(left) {
    this.left = left;
    this.open = [];
    this.on.left(left.length);
  }

  // A person goes on with what had no answer. Of a ZIP the whole is listed anew, without what is known.
  goOn() {
    const chosen = new Map(this.left.map(({ name, file, archive }) => [archive ?? file, { name: archive?.name ?? name, file: archive ?? file }]));
    this.leave([]);
    this.take([...chosen.values()]);
  }

  // What is under way, what waits, what was chosen and what is left, is of a batch that is open no more.
  drop() {
    this.run += 1;
    this.waiting = [];
    this.willClassify(null);
    this.leave([]);
  }

  // What waits is left with what had no answer; before the first cell it goes on waiting.
  cancel() {
    this.run += 1;
    if (this.editor.review.cells.length) this.open = [...this.open, ...this.waiting.splice(0).flat()];
    this.ended();
  }

  // A picture as a field in place of a single cell, or the other way. Other pictures stay as they are.
  async takeAs(cell) {
    const { review } = this.editor, { batch } = review, { run } = this;
    const how = isOfField(cell) ? 'cell' : 'field', id = pictureOf(cell);
    this.on.say('');
    const answer = await this.again(run, { id, name: cell.name }, { ...requestOf(review), how }).catch(() => null);
    if (run !== this.run || this.editor.review?.batch !== batch) return;
    if (!answer || answer.error) this.on.say(answer?.error.text ?? this.texts.errors.server_gone);
    else {
      const { gone, cells: further, lost } = retaken(this.editor.review, id, answer.cells);
      if (!lost || confirm(this.texts.take_lost.replace('{count}', lost))) await this.server.told(() => this.editor.add({ ...answer, cells: further }, gone));
    }
    this.on.retaken();
  }
}
