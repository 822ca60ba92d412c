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

  // Some things Gradio says in words of its own, in English alone.
  const words = Object.entries(WORDS[here]);
  const reword = () => {
    for (const place of document.querySelectorAll('[data-testid=status-tracker], [data-testid=toast-body]')) {
      const texts = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        const [theirs, ours] = words.find(([theirs]) => texts.currentNode.data.trimStart().startsWith(theirs)) ?? [];
        if (ours) texts.currentNode.data = texts.currentNode.data.replace(theirs, ours);
      }
    }
  };
  new MutationObserver(reword).observe(document.body, { childList: true, characterData: true, subtree: true });

  // A digit gives the selected cell its class, u takes the last step back; not while something is typed.
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('textarea, input:not([type=radio]), [contenteditable]')) return;
    if (/^[0-9]$/.test(event.key)) {
      document.querySelectorAll('#give input[type=radio]')[(Number(event.key) + 9) % 10]?.click();
    } else if (event.key === 'u') {
      document.querySelector('#undo')?.click();
    }
  });

  // A folder that is dropped stands for the files below it; Gradio takes files alone.
  const filesOf = async entry => {
    if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
    const reader = entry.createReader();
    const found = [];
    for (;;) {  // a reader gives a hundred at a time
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return found;
      for (const one of some) found.push(...await filesOf(one));
    }
  };
  document.addEventListener('drop', async event => {
    const input = event.target.closest?.('#files')?.querySelector('input[type=file]');
    const entries = [...event.dataTransfer?.items ?? []].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!input || !entries.some(entry => entry.isDirectory)) return;
    event.preventDefault();
    event.stopPropagation();
    const chosen = new DataTransfer();
    for (const entry of entries) {
      for (const file of await filesOf(entry)) if (!file.name.startsWith('.')) chosen.items.add(file);
    }
    input.files = chosen.files;
    input.dispatchEvent(new Event('change', { bubbles: true }));
  }, true);
}
