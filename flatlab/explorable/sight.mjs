// When a reader first sees an explorable. In: an element and what to do; out: a function that stops waiting.

export function onceSeen(el, act) {
  const sight = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    sight.disconnect();
    act();
  }, { threshold: 0.3 });
  sight.observe(el);
  return () => sight.disconnect();
}
