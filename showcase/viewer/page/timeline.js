// Where a time is on the screen: a line of pieces, each with a share of the width. Gaps in which no
// span ran can be compressed to a sliver each. Zoom is a window on that line.

/** A gap is worth compressing from this share of the whole. */
const LEAST_GAP = 0.05;
/** What is left of a compressed gap, as a share of the whole. */
const SLIVER = 0.04;
const CLOSEST = 1e-6;

export class Timeline {
  constructor(trace, compressed) {
    this.start = trace.start;
    this.end = Math.max(trace.end, trace.start + 1);
    this.gaps = findGaps(trace, (this.end - this.start) * LEAST_GAP);
    this.pieces = compressed ? this.compress() : [{ from: this.start, to: this.end, x0: 0, x1: 1, isGap: false }];
    this.from = 0;
    this.to = 1;
  }

  compress() {
    const left = this.end - this.start - this.gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
    const share = Math.min(SLIVER, 0.5 / Math.max(1, this.gaps.length));
    const scale = (1 - this.gaps.length * share) / Math.max(1, left);
    const pieces = [];
    let at = this.start;
    let x = 0;
    const add = (to, isGap) => {
      const width = isGap ? share : (to - at) * scale;
      pieces.push({ from: at, to, x0: x, x1: x + width, isGap });
      at = to;
      x += width;
    };
    for (const gap of this.gaps) {
      if (gap.from > at) add(gap.from, false);
      add(gap.to, true);
    }
    if (at < this.end) add(this.end, false);
    return pieces;
  }

  line(time) {
    let piece = this.pieces[0];
    for (const next of this.pieces) {
      if (time < next.from) break;
      piece = next;
    }
    const share = piece.to > piece.from ? (time - piece.from) / (piece.to - piece.from) : 0;
    return piece.x0 + Math.min(1, Math.max(0, share)) * (piece.x1 - piece.x0);
  }

  /** Share of the visible width; below 0 and above 1 when it is out of sight. */
  x(time) {
    return (this.line(time) - this.from) / (this.to - this.from);
  }

  /** The time at a share of the visible width. */
  time(x) {
    const at = this.from + x * (this.to - this.from);
    const piece = this.pieces.find((piece) => at <= piece.x1) ?? this.pieces.at(-1);
    const share = piece.x1 > piece.x0 ? (at - piece.x0) / (piece.x1 - piece.x0) : 0;
    return piece.from + Math.max(0, share) * (piece.to - piece.from);
  }

  zoom(factor, around = 0.5) {
    const width = Math.min(1, Math.max(CLOSEST, (this.to - this.from) / factor));
    const centre = this.from + around * (this.to - this.from);
    this.place(centre - around * width, width);
  }

  pan(share) {
    const width = this.to - this.from;
    this.place(this.from + share * width, width);
  }

  place(from, width) {
    this.from = Math.min(1 - width, Math.max(0, from));
    this.to = this.from + width;
  }
}

/** The times in which no span ran, if they are long enough. */
function findGaps(trace, least) {
  const spans = [...trace.spans].sort((one, other) => one.start - other.start);
  const gaps = [];
  let until = trace.start;
  for (const span of spans) {
    if (span.start - until > least) gaps.push({ from: until, to: span.start });
    until = Math.max(until, span.end);
  }
  return gaps;
}
