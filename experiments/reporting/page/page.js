// Makes tables sortable: each heading becomes a button. Numbers begin with the
// largest, names with the first; what has no number is always last.
'use strict';

const keyOf = (row, index) => {
  const cell = row.cells[index];
  const key = cell.dataset.key;
  if (key === undefined) return cell.textContent;
  return key === '' ? null : Number(key);
};

const compare = (a, b) => {
  if (a === null || b === null) return 0;
  if (typeof a === 'number') return a === b ? 0 : a < b ? -1 : 1;
  return a.localeCompare(b, 'en', {numeric: true});
};

const sort = (table, index) => {
  const heading = table.tHead.rows[0].cells[index];
  const before = heading.getAttribute('aria-sort');
  const first = heading.classList.contains('number')
    ? 'descending' : 'ascending';
  const other = first === 'ascending' ? 'descending' : 'ascending';
  const order = before === first ? other : first;
  for (const each of table.tHead.rows[0].cells) {
    each.removeAttribute('aria-sort');
  }
  heading.setAttribute('aria-sort', order);
  const sign = order === 'ascending' ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [keyOf(row, index), row]);
  rows.sort(([a], [b]) =>
    (a === null) - (b === null) || sign * compare(a, b));
  body.append(...rows.map(([, row]) => row));
};

for (const table of document.querySelectorAll('table.sortable')) {
  [...table.tHead.rows[0].cells].forEach((heading, index) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...heading.childNodes);
    button.addEventListener('click', () => sort(table, index));
    heading.append(button);
  });
}

// What is folded is printed, too.
window.addEventListener('beforeprint', () => {
  for (const each of document.querySelectorAll('details')) each.open = true;
});
