"""One run, or several, as one HTML file: `mopd report`.

`report` makes the page: it gathers data as plain JSON from `overview` (figures of steps and evaluations), `groups` and
`held_out` (what was written, evenly chosen by `sampling`), `credit` and `places` (what the teacher says of tokens), and
`comparison` (several runs). `watching` makes it again while a run trains. `html` puts data, page.css and
the .js files into one file; the browser draws.

May import: everything but `cli`. A new figure is gathered here and drawn in a .js file; text that a model wrote goes
through `sampling.shown` here, and through `textContent` there.
"""
