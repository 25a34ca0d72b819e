// Pictures of the embedded world that ship with the page, each with a question that the shipped model answers. They
// are scenes 16, 44, 20 and 0 of seed 5, level full (pumice.world.scene.make_scene), drawn and saved as WebP.

export const EXAMPLES = [
  { file: "ring.webp", alt: "a cross, a ring, two stars and a triangle in plain colors", question: "What color is the ring?" },
  { file: "sign.webp", alt: "a sign with three characters, a star and two squares", question: "What does the sign say?" },
  { file: "star.webp", alt: "two stars, a square and a ring in plain colors", question: "What shape is yellow?" },
  { file: "cross.webp", alt: "a large cross, a star and three small shapes", question: "Where is the star relative to the orange cross?" },
];
