// Sentences with values in them.

// A text with values in the places that are named in it.
export function filled(words, values) {
  return words.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

// The same with a count, for which a text has words of one and of many.
export function counted({ one, many }, count, values = {}) {
  return filled(count === 1 ? one : many, { count, ...values });
}

// A date such as 2026-01-31 as people of a language write it.
export function date(iso, language) {
  return new Date(`${iso}T00:00`).toLocaleDateString({ en: 'en-GB' }[language] ?? language, { dateStyle: 'long' });
}
