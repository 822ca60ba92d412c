// Boxes of cells that the page did not find, or that a COCO file has.

import { counted } from './words.js';

// What came of the boxes of a file, in words.
export function outcome({ decided, added, same, left, unknown, failed, why, outside, absent }, texts) {
  const { coco_read: read, coco_parts: parts } = texts;
  const counts = { decided: decided.length, added, same, left, unknown: unknown.length, failed };
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const words = Object.entries(counts).filter(([, count]) => count).map(([part, count]) => counted(parts[part], count));
  const first = [counted(read, total), words.join(', ')].filter(Boolean).join(': ').replace('{names}', [...new Set(unknown)].join(', ')).replace('{why}', why);
  const others = [[texts.coco_outside, outside], [texts.coco_absent, absent]].filter(([, count]) => count).map(([each, count]) => counted(each, count));
  return `${[first, ...others].join('; ')}.`;
}
