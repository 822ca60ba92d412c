// The first page of a visit follows the browser's language, or the one that was used last; the links change it.

import { webStorage } from './store.js';

const KEY = 'blood-cells-language';

// The address of the page in the wanted language, if a visit begins with another; otherwise nothing.
export function elsewhere({ language, languages }, last, spoken, isVisited) {
  const wanted = last ?? Object.keys(languages).find(code => spoken.startsWith(code));
  const isFirst = !isVisited && language === Object.keys(languages)[0]; // another address was chosen
  return isFirst && wanted && wanted !== language ? languages[wanted] : undefined;
}

export function followLanguage(settings) {
  const local = webStorage('localStorage'), session = webStorage('sessionStorage'), { language } = settings;
  const address = elsewhere(settings, local.getItem(KEY), navigator.language, session.getItem(KEY));
  session.setItem(KEY, language);
  if (address) return location.replace(address);
  local.setItem(KEY, language);
  document.documentElement.lang = language;
}
