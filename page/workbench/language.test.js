import assert from 'node:assert/strict';
import { test } from 'node:test';
import { elsewhere } from './language.js';

const english = { language: 'en', languages: { en: '/', es: '/es' } }, spanish = { ...english, language: 'es' };

test('a visit begins in the language of the browser, and later in the one that was used last', () => {
  assert.equal(elsewhere(english, null, 'es-MX', null), '/es');
  assert.equal(elsewhere(english, null, 'en-GB', null), undefined);
  assert.equal(elsewhere(english, null, 'fr', null), undefined);
  assert.equal(elsewhere(english, 'es', 'en-GB', null), '/es');
  assert.equal(elsewhere(english, 'en', 'es', null), undefined);
  assert.equal(elsewhere(english, 'xx', 'es', null), undefined); // a language that was taken away
});

test('nobody is sent away from a page that they chose', () => {
  assert.equal(elsewhere(english, 'es', 'es', 'es'), undefined); // by its link
  assert.equal(elsewhere(spanish, 'en', 'en', null), undefined); // by its address
});
