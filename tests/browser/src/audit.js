// Returns what is wrong with the page: one line for each problem.
// A phone widens its window to the page, so the width comes from the test.
const width = arguments[0];
const problems = [];
const name = element => {
  const text = (element.innerText || element.value || element.name || '').trim().slice(0, 40);
  return `<${element.localName}> ${JSON.stringify(text)}`;
};
const visible = element => element.checkVisibility() && element.getClientRects().length > 0;
const all = selector => [...document.querySelectorAll(selector)].filter(visible);

// The document.
const root = document.documentElement;
if (!root.lang) problems.push('the page has no lang');
if (!document.title.trim()) problems.push('the page has no title');
for (const [selector, count] of [['h1', 1], ['main', 1], ['meta[name=viewport]', 1]]) {
  const found = document.querySelectorAll(selector).length;
  if (found !== count) problems.push(`the page has ${found} of ${selector}`);
}
// The policy blocks a style sheet whose hash is wrong.
if (![...document.styleSheets].some(sheet => sheet.cssRules.length > 0)) {
  problems.push('no style sheet is in effect');
}
const ids = [...document.querySelectorAll('[id]')].map(element => element.id);
if (new Set(ids).size !== ids.length) problems.push('two elements have the same id');

// The layout.
if (root.scrollWidth > width) {
  problems.push(`the page is ${root.scrollWidth} px wide, and the window ${width} px`);
}
for (const element of all('body *')) {
  const box = element.getBoundingClientRect();
  if (box.right > width + 1 || box.left < -1) {
    // An element around it may scroll, by itself and with the keyboard.
    if (!element.closest('pre')) problems.push(`${name(element)} is cut off at ${box.right} px`);
  }
}

// The targets (WCAG 2.2, 2.5.8). A link inside a sentence has no required size.
const controls = all('button, input:not([type=hidden]), select, summary, a');
for (const element of controls) {
  const box = element.getBoundingClientRect();
  if (element.localName === 'a' && getComputedStyle(element).display === 'inline') {
    const sentence = element.parentElement.innerText.trim();
    if (sentence !== element.innerText.trim()) continue;
  }
  if (box.width < 24 || box.height < 24) {
    problems.push(`${name(element)} is ${box.width} x ${box.height} px`);
  }
  if (element.localName === 'button' && element.scrollWidth > element.clientWidth) {
    problems.push(`the text of ${name(element)} is clipped`);
  }
}

// The names of the controls, and the focus.
for (const element of controls) {
  const label = element.labels?.[0]?.innerText || element.getAttribute('aria-label') || element.innerText;
  if (!label?.trim()) problems.push(`${name(element)} has no label`);
  element.focus();
  const style = getComputedStyle(element);
  if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 1) {
    problems.push(`the focus of ${name(element)} is not visible`);
  }
  element.blur();
}

// The contrast (WCAG 2.2, 1.4.3), of text of any size.
const parse = color => {
  const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
  return { r, g, b, a };
};
const over = (top, bottom) => {
  const mix = part => top[part] * top.a + bottom[part] * (1 - top.a);
  return { r: mix('r'), g: mix('g'), b: mix('b'), a: 1 };
};
const backgroundOf = element => {
  if (!element) return { r: 255, g: 255, b: 255, a: 1 };
  const own = parse(getComputedStyle(element).backgroundColor);
  return own.a === 1 ? own : over(own, backgroundOf(element.parentElement));
};
const luminance = ({ r, g, b }) => {
  const linear = value => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
};
let lowest = 21;
for (const element of all('body, body *')) {
  const hasText = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  if (!hasText && !element.matches('input:not([type=checkbox]), select')) continue;
  const background = backgroundOf(element);
  const color = over(parse(getComputedStyle(element).color), background);
  const [dark, light] = [luminance(color), luminance(background)].sort((a, b) => a - b);
  const contrast = (light + 0.05) / (dark + 0.05);
  lowest = Math.min(lowest, contrast);
  if (contrast < 4.5) problems.push(`${name(element)} has a contrast of ${contrast.toFixed(2)}`);
}

const isDark = luminance(backgroundOf(document.body)) < 0.2;
return { problems, lowest, isDark, height: Math.max(root.scrollHeight, 200) };
