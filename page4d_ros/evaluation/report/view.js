// Draws each .view with plotly.js when it comes into sight, in the colours of the page.
(() => {
  const MOST = 6; // browsers take WebGL away from pages that use it more than 8 to 16 times
  const stages = new Map(); // drawn ones, oldest first, with what they show

  const dressed = (stage, layout) => {
    const style = getComputedStyle(stage);
    const [text, line, card] = ['--text', '--line', '--card'].map((name) => style.getPropertyValue(name).trim());
    const axis = { color: text, gridcolor: line, linecolor: line, showbackground: false, showspikes: false, zeroline: false };
    const axes = ['xaxis', 'yaxis', 'zaxis'].map((name) => [name, { ...axis, ...layout.scene[name] }]);
    const sliders = layout.sliders.map((slider) => ({
      ...slider, x: 0.05, len: 0.9, pad: { t: 0, b: 10 }, ticklen: 0, minorticklen: 0, font: { size: 10 },
      bgcolor: line, bordercolor: line, activebgcolor: text,
    }));
    const farther = Math.max(1, Math.sqrt(stage.clientHeight / stage.clientWidth)); // on a phone held upright
    const eye = Object.fromEntries(Object.entries(layout.scene.camera.eye).map(([name, x]) => [name, x * farther]));
    return {
      ...layout, sliders,
      scene: { ...layout.scene, ...Object.fromEntries(axes), camera: { eye } },
      paper_bgcolor: card,
      font: { color: text, family: style.fontFamily },
      margin: { l: 0, r: 0, t: 0, b: 0 },
      legend: { orientation: 'h', x: 0, y: 1, yanchor: 'bottom', itemsizing: 'constant' },
    };
  };

  const draw = (stage) => {
    const { data, layout } = JSON.parse(stage.nextElementSibling.textContent);
    stage.textContent = '';
    stages.set(stage, layout);
    const config = { displaylogo: false, responsive: true, modeBarButtons: [['resetCameraDefault3d']] };
    Plotly.newPlot(stage, data, dressed(stage, layout), config);
    if (stages.size > MOST) drop(stages.keys().next().value);
  };
  const drop = (stage) => {
    Plotly.purge(stage);
    stages.delete(stage);
  };

  if (!document.createElement('canvas').getContext('webgl')) { // the text in the stage says so
    for (const figure of document.querySelectorAll('.paper')) figure.classList.remove('paper');
    return;
  }
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting && !stages.has(target)) draw(target);
  });
  for (const stage of document.querySelectorAll('.view > .stage')) seen.observe(stage);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    for (const [stage, layout] of stages) Plotly.relayout(stage, dressed(stage, layout));
  });
})();
