// Which key does what. A pure function of the event, so that it is tested without a page.

const MOVES = { ArrowRight: 'next', ArrowLeft: 'previous', ArrowDown: 'below', ArrowUp: 'above', Home: 'first', End: 'last' };

const DECIDING = ['decide', 'confirm', 'confirmGroup']; // a key that is held does these once

// {do: name, ...} for a key, or null where the page is left alone. `choices` are labels, then the words for what is no cell;
// digits name the first ten.
export function action(event, choices, isTyping, isHeading) {
  const found = meaning(event, choices, isTyping, isHeading);
  return event.repeat && DECIDING.includes(found?.do) ? null : found;
}

function meaning(event, choices, isTyping, isHeading) {
  if (isTyping || event.altKey) return null;
  const control = event.ctrlKey || event.metaKey;
  if (control) return null;
  if (event.key in MOVES) return { do: 'move', to: MOVES[event.key], extend: event.shiftKey };
  if (/^[0-9]$/.test(event.key)) {
    const choice = choices[(Number(event.key) + 9) % 10];
    return choice ? { do: 'decide', choice } : null;
  }
  switch (event.key) {
    case 'Enter': return { do: isHeading ? 'confirmGroup' : 'confirm' };
    case 'a': return { do: 'selectGroup' };
    case 'n': return { do: 'decide', choice: 'not_a_cell' };
    case 't': return { do: 'decide', choice: 'two_cells' };
    case 'u': return { do: 'undo' };
    case 'U': return { do: 'redo' };
    case 'g': case 'PageDown': return { do: 'nextGroup' };
    case 'G': case 'PageUp': return { do: 'previousGroup' };
    case 's': return { do: 'saliency' };
    case '+': case '=': return { do: 'size', by: 1 };
    case '-': return { do: 'size', by: -1 };
    case '?': return { do: 'help' };
    case 'Escape': return { do: 'deselect' };
    default: return null;
  }
}
