() => {
  // The first page of a visit follows the browser's language, or the one that was used last; the links change it.
  const here = location.pathname.endsWith('/es') ? 'es' : 'en';
  const key = 'blood-cells-language';
  const wanted = localStorage.getItem(key) ?? (navigator.language.startsWith('es') ? 'es' : 'en');
  if (!sessionStorage.getItem(key)) {
    sessionStorage.setItem(key, here);
    if (here === 'en' && wanted === 'es') return location.replace('es');
  }
  localStorage.setItem(key, here);
  document.documentElement.lang = here;

  // A digit gives the selected cell its class, u takes the last step back; not while something is typed.
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('textarea, input:not([type=radio]), [contenteditable]')) return;
    if (/^[0-9]$/.test(event.key)) {
      document.querySelectorAll('#give input[type=radio]')[(Number(event.key) + 9) % 10]?.click();
    } else if (event.key === 'u') {
      document.querySelector('#undo')?.click();
    }
  });
}
