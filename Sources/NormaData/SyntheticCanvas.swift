/// A colour picture that made-up data are painted on.
///
/// Like all of them with additions, multiplications, divisions and square roots only, so that a seed gives the same bytes on
/// every machine.
struct SyntheticCanvas {
  typealias Colour = SIMD3<Float>

  let side: Int
  /// Row by row, 0…1.
  private(set) var pixels: [Colour]

  init(side: Int) {
    self.side = side
    pixels = Array(repeating: .zero, count: side * side)
  }

  /// Gives every pixel the colour that `colour` has for it.
  mutating func fill(_ colour: (_ x: Int, _ y: Int) -> Colour) {
    for y in 0..<side {
      for x in 0..<side { pixels[y * side + x] = colour(x, y) }
    }
  }

  /// Paints a shape with soft edges.
  ///
  /// - Parameters:
  ///   - centre: about which the shape lies, in pixels.
  ///   - reach: no part of the shape is farther than this from the centre along an axis.
  ///   - distance: how far outside of the shape a place is, in pixels from the centre; negative inside.
  mutating func paint(
    _ centre: SIMD2<Float>, reach: Float, colour: (_ x: Int, _ y: Int) -> Colour,
    distance: (_ offset: SIMD2<Float>) -> Float
  ) {
    let bound = Float(side - 1)
    let first = SIMD2(max(0, min(bound, centre.x - reach - 1)), max(0, min(bound, centre.y - reach - 1)))
    let last = SIMD2(max(0, min(bound, centre.x + reach + 1)), max(0, min(bound, centre.y + reach + 1)))
    for y in Int(first.y)...Int(last.y) {
      for x in Int(first.x)...Int(last.x) {
        let coverage = 0.5 - distance(SIMD2(Float(x), Float(y)) - centre)
        if coverage <= 0 { continue }
        pixels[y * side + x] = blend(pixels[y * side + x], colour(x, y), min(1, coverage))
      }
    }
  }

  /// Paints a shape of one colour.
  mutating func paint(
    _ centre: SIMD2<Float>, reach: Float, _ colour: Colour, distance: (_ offset: SIMD2<Float>) -> Float
  ) {
    paint(centre, reach: reach, colour: { _, _ in colour }, distance: distance)
  }

  /// [3, side, side] with noise of this deviation.
  func bytes(noise: Float, using random: inout RandomSource) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 3 * side * side)
    for channel in 0..<3 {
      for (index, pixel) in pixels.enumerated() {
        bytes[channel * side * side + index] = byte(pixel[channel] + noise * random.roughNormal())
      }
    }
    return bytes
  }
}

/// A grey value 0…1 in eight bits.
func byte(_ value: Float) -> UInt8 { UInt8(max(0, min(255, (value * 255).rounded()))) }

func blend(_ a: SIMD3<Float>, _ b: SIMD3<Float>, _ share: Float) -> SIMD3<Float> { a + (b - a) * share }

func length(_ v: SIMD2<Float>) -> Float { (v.x * v.x + v.y * v.y).squareRoot() }

/// Distance from the rim of a rectangle about the origin; not exact outside of its corners.
func boxDistance(_ p: SIMD2<Float>, _ half: SIMD2<Float>) -> Float { max(abs(p.x) - half.x, abs(p.y) - half.y) }

/// Distance from a piece of a line.
func segmentDistance(_ p: SIMD2<Float>, _ a: SIMD2<Float>, _ b: SIMD2<Float>) -> Float {
  let (d, e) = (b - a, p - a)
  let square = d.x * d.x + d.y * d.y
  let t = square > 0 ? max(0, min(1, (e.x * d.x + e.y * d.y) / square)) : 0
  return length(e - d * t)
}

/// The coordinates of a place along a direction and across it.
func turned(_ p: SIMD2<Float>, _ direction: SIMD2<Float>) -> SIMD2<Float> {
  SIMD2(p.x * direction.x + p.y * direction.y, p.y * direction.x - p.x * direction.y)
}

extension RandomSource {
  mutating func colour(in range: ClosedRange<Float> = 0.05...0.95) -> SIMD3<Float> {
    SIMD3(uniform(in: range), uniform(in: range), uniform(in: range))
  }
}

/// Smooth random fields that are drawn once and cut up for many pictures.
struct NoisePool {
  private let extent: Int
  private let fields: [[Float]]

  /// Draws one field of mean 0 and deviation about 1 for each distance between lattice points.
  init(side: Int, spacings: [Float], using random: inout RandomSource) {
    extent = 3 * side
    fields = spacings.map { [extent] in
      LatticeNoise(width: extent, height: extent, spacing: $0, using: &random).slice(0)
    }
  }

  /// A square of one of the fields.
  struct Patch {
    fileprivate let field: [Float]
    fileprivate let width: Int
    fileprivate let start: Int

    subscript(x: Int, y: Int) -> Float { field[start + y * width + x] }
  }

  /// Any square of `side` of any field.
  func patch(side: Int, using random: inout RandomSource) -> Patch {
    let field = fields[random.integer(below: fields.count)]
    let (x, y) = (random.integer(below: extent - side + 1), random.integer(below: extent - side + 1))
    return Patch(field: field, width: extent, start: y * extent + x)
  }
}
