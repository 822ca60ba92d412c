// The differential: its chart, as the server counts it, and the typical ranges, which a person may change.

import { webStorage } from './store.js';
import { chart, element } from './view.js';

const KEY = 'blood-cells-typical';
const RETRY = [2000, 5000, 15000]; // milliseconds before counts that had no answer are asked again; the last goes on

// Only whole ranges are sent, of per cent.
export function whole(typical) {
  return Object.fromEntries(Object.entries(typical).filter(([, [low, high]]) => low !== '' && high !== '' && low >= 0 && low <= high && high <= 100));
}

// The ranges with another end of one, empty for none.
export function withEnd(typical, label, end, value) {
  const pair = [...typical[label] ?? ['', '']];
  pair[end] = value === '' ? '' : Number(value);
  return { ...typical, [label]: pair };
}

// What is counted beside the white cells, in words.
export function beside({ per_100, platelets }, texts) {
  const rates = per_100.map(each => `${each.name}: ${each.count}${each.rate === null ? '' : `, ${each.rate} ${texts.per_100_short}`}`);
  return [...rates, ...(platelets ? [`${texts.platelets_short}: ${platelets}`] : [])].join(' · ');
}

export class Differential {
  // `gallery` names the classes; `reading` gives what derives from the open review, or null.
  constructor(root, settings, server, gallery, reading, storage = webStorage('localStorage')) {
    Object.assign(this, { root, settings, server, gallery, reading, storage, texts: settings.texts, batch: null, asked: null, failures: 0 });
    this.typical = JSON.parse(storage.getItem(KEY) ?? 'null') ?? settings.typical;
  }

  at(selector) { return this.root.querySelector(selector); }

  ranges() {
    return whole(this.typical);
  }

  // The differential of the counts as they are now. An answer to older counts is dropped, and that of another batch goes at once.
  async count(reading) {
    const { batch, labels, classes } = reading.review;
    const counts = reading.counts(), asked = JSON.stringify([batch, counts, this.ranges(), labels, classes]);
    if (asked === this.asked) return;
    if (batch !== this.batch) this.clear();
    Object.assign(this, { batch, asked });
    clearTimeout(this.timer);
    const found = await this.server.call('differential', { counts, labels, classes, typical: this.ranges() }).catch(() => null);
    if (asked !== this.asked) return;
    if (found?.rows) this.failures = 0;
    else this.askLater();
    this.setStale(!found?.rows);
    if (found?.rows) this.show(found);
  }

  askLater() {
    this.asked = null; // the next step asks too
    this.timer = setTimeout(() => this.again(), RETRY[Math.min(this.failures, RETRY.length - 1)]);
    this.failures += 1;
  }

  // Counts that had no answer, once there may be one.
  again() {
    const reading = this.reading();
    if (reading) this.count(reading);
  }

  // Whether what is shown is of older counts.
  setStale(isStale) {
    this.at('footer').toggleAttribute('data-stale', isStale);
    this.at('#stale').textContent = isStale ? this.texts.differential_stale : '';
  }

  clear() {
    this.at('#chart').replaceChildren();
    for (const part of ['#white', '#others']) this.at(part).textContent = '';
    this.setStale(false);
  }

  show(found) {
    chart(this.at('#chart'), found, this.texts);
    this.at('#white').textContent = `${found.white} ${this.texts.white}${found.small ? ` · ${this.texts.few_short}` : ''}`;
    this.at('#white').title = found.small ? this.texts.few : '';
    this.at('#others').textContent = beside(found, this.texts);
  }

  // The typical ranges, a row a class. An empty field marks nothing.
  editRanges(labels) {
    const field = (label, end) => element('input', {
      type: 'number', min: 0, max: 100, step: 0.1, value: this.typical[label]?.[end] ?? '', 'aria-label': `${this.gallery.name(label)} ${this.texts.ranges_headers[end + 1]}`,
      onchange: event => this.setRange(label, end, event.target.value),
    });
    const classes = labels.map(label => this.gallery.classes.get(label)).filter(each => each?.white);
    const rows = [...new Set([...this.settings.ranges, ...classes.map(each => each.type)])].map(label => element('tr', {}, element('td', {}, this.gallery.name(label)), element('td', {}, field(label, 0)), element('td', {}, field(label, 1))));
    this.at('.limits').replaceChildren(...rows);
    this.at('#limits').showModal();
  }

  setRange(label, end, value) {
    this.typical = withEnd(this.typical, label, end, value);
    this.storage.setItem(KEY, JSON.stringify(this.typical));
    this.again();
  }
}
