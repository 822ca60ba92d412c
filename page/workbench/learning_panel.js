// What the page shows of other models: the buttons, while there is something for them to do, and what the last one brought.

import { added, baseOf, canUseStatistics, lessons, renamed } from './review.js';
import { counted, date, filled } from './words.js';

// Which other model names the cells, and what it brought. `name` gives a type's name.
export function reportWords(review, { texts, language }, name) {
  const { kind, right, right_before: before, total, base, made, missing = {} } = review.report;
  const values = { right, before, total, base, date: made && date(made, language), renamed: renamed(review) };
  const wanted = Object.entries(missing).map(([label, count]) => `${count} ${name(label)}`).join(', ');
  const words = { kept: texts.kept, statistics: texts.statistics }[kind] ?? texts.learnt;
  return `${filled(words, values)}${wanted && ` ${texts.learn_missing.replace('{missing}', wanted)}`}`;
}

// Which cells it does not name, since they were added later and its file is not here.
export function addedWords(review, texts) {
  const count = added(review).length;
  if (!count) return '';
  const words = counted(texts.added_since, count, { model: baseOf(review) });
  return review.report.kind === 'statistics' ? words : `${words} ${texts.added_hint}`;
}

export class LearningPanel {
  constructor(root, settings, gallery, editor, learning) {
    Object.assign(this, { root, settings, gallery, editor, learning, texts: settings.texts });
  }

  at(selector) { return this.root.querySelector(selector); }

  show() {
    const { review, phase, model } = this.editor, { under } = this.learning;
    const { cells, types } = lessons(review), { learning, statistics } = this.settings;
    const learn = this.at('#learn');
    learn.hidden = cells < learning.fewest || types < 2;
    learn.disabled = Boolean(under) || phase !== 'review';
    learn.textContent = under === 'learning' ? this.texts.learning : this.texts.learn.replace('{count}', cells);
    const words = this.words();
    if (this.at('#learnt_words').textContent !== words) this.at('#learnt_words').textContent = words; // a screen reader says it
    this.at('#learnt').hidden = !words;
    this.at('#statistics').hidden = Boolean(under) || !canUseStatistics(review, statistics.fewest);
    this.at('#keep_model').hidden = model?.batch !== review.batch;
  }

  words() {
    const { review, phase } = this.editor;
    const report = review.report && reportWords(review, this.settings, label => this.gallery.name(label));
    const rest = phase === 'review' ? addedWords(review, this.texts) : '';
    return [report, this.learning.under === 'naming' ? this.texts.naming : rest].filter(Boolean).join(' ');
  }
}
