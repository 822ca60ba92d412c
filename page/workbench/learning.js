// Other models for the cells of the open batch: one that learns from the decisions, one that was kept, or statistics of the batch.

import { bytes } from './download.js';
import { added, baseOf, modelName, toLearn, withLearnt, withRows } from './review.js';
import { date, filled } from './words.js';

export class Learning {
  // `on`: say(words), and what is shown: changed() of `under`, reading(isReading) a file before anything is classified, and
  // chosen(words, base) of the model that waits for pictures, with the name of the model that it began as.
  constructor({ language, texts }, server, editor, on) {
    Object.assign(this, { language, texts, server, editor, on });
    this.kept = null; // the file of a kept model that is to name the cells next
    this.under = ''; // what another model does to the cells at the moment: `learning`, `naming`
  }

  // A model that was to name the cells of the batch before names no others, and what is under way is of that batch.
  drop() {
    this.kept = null;
    this.under = '';
    this.on.chosen('');
  }

  // The answers of a model that learnt from the decisions take the place of those before. What is decided meanwhile stays.
  async learn() {
    const answer = await this.anew('learning', 'learn', toLearn(this.editor.review));
    if (answer) {
      const { review } = this.editor;
      const file = new File([bytes(answer.folder)], `${modelName(baseOf(review))}-adapted.zip`, { type: 'application/zip' });
      await this.editor.rename(withLearnt(review, answer), file);
    }
    this.nameRest();
  }

  // A kept model names the cells of the open batch, and otherwise those that are classified next.
  async take(file, isWithPictures) {
    this.on.say('');
    if (this.editor.phase !== 'empty') {
      this.kept = file;
      if (!isWithPictures) this.nameRest();
      return;
    }
    this.kept = null;
    this.on.reading(true);
    const answer = await this.byModel(file, []);
    this.on.reading(false);
    if (!answer) return;
    const { base, made, total } = answer.report;
    this.kept = file;
    this.on.chosen(filled(this.texts.kept_waiting, { base, total, date: date(made, this.language) }), base);
    this.nameRest(); // of the examples, if they were classified meanwhile
  }

  // Cells that are to have the answers of another model: of a kept one all, of the one that named the rest those that were
  // added since. One that fails is not asked again by itself.
  async nameRest() {
    if (this.under || this.editor.phase !== 'review') return;
    const { kept } = this, { model, review } = this.editor, ids = new Set(added(review)), cells = toLearn(review);
    if (kept) {
      this.kept = null;
      const answer = await this.anew('naming', 'name_by_kept', cells, kept);
      if (answer) await this.editor.rename(withLearnt(this.editor.review, answer), kept);
    } else if (ids.size && model?.batch === review.batch) {
      const answer = await this.anew('naming', 'name_by_kept', cells.filter(({ id }) => ids.has(id)), model.file);
      if (answer && this.editor.model === model) await this.editor.rename(withRows(this.editor.review, answer), model.file);
      if (!answer) return;
    } else return;
    this.nameRest();
  }

  async nameByStatistics() {
    const answer = await this.anew('naming', 'name_by_statistics', toLearn(this.editor.review));
    if (answer) await this.editor.rename(withLearnt(this.editor.review, answer), null);
    this.nameRest();
  }

  // Another model's answers for cells of the open batch, or null where there are none, or another batch is open by then.
  async anew(under, name, cells, file = null) {
    const { batch } = this.editor.review;
    this.on.say('');
    this.under = under;
    this.on.changed();
    const answer = file ? await this.byModel(file, cells) : await this.server.ask(name, { batch, model: baseOf(this.editor.review), cells });
    if (this.editor.review?.batch !== batch) return null; // another model may be under way there
    this.under = '';
    if (!answer) this.on.changed();
    return answer;
  }

  // What the model in a file says of cells.
  async byModel(file, cells) {
    const { review } = this.editor, { batch = '' } = review ?? {}, model = review ? baseOf(review) : '';
    const uploaded = await this.server.upload(file).catch(() => null);
    if (uploaded) return this.server.ask('name_by_kept', { batch, model, path: uploaded.path, cells });
    this.on.say(this.texts.errors.server_gone);
    return null;
  }
}
