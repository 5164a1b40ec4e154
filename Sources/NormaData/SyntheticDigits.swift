/// Made-up handwriting: the digits 0 to 9 drawn as strokes, 28×28 grey, white on black as in MNIST.
///
/// Writers differ in the way of writing some digits, in slant, turn, width, thickness and steadiness.
public struct SyntheticDigits: Sendable {
  /// Rows and columns of an image.
  public static let side = 28

  /// The number of images, of all digits as many but for one.
  public var count: Int
  /// Decides everything.
  public var seed: UInt64

  /// Describes a set; the count must be positive.
  public init(count: Int = 6000, seed: UInt64 = 0) {
    precondition(count > 0, "digits need a positive count, received \(count)")
    self.count = count
    self.seed = seed
  }

  /// Draws the digits: [count, 1, 28, 28] in eight bits.
  public func make() -> ImageDataset {
    let source = RandomSource(seed: seed)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count * Self.side * Self.side)
    let classes = (0..<count).map { UInt16($0 % 10) }
    for (index, digit) in classes.enumerated() {
      var random = source.derive(stream: UInt64(index))
      bytes += Self.image(of: Int(digit), using: &random)
    }
    return known(
      try ImageDataset(
        name: "synthetic digits", channels: 1, height: Self.side, width: Self.side, pixels: .bytes(bytes),
        targets: .classes(classes, names: (0..<10).map(String.init))))
  }

  /// A line through points; round ones bend at the points, others have corners there.
  private struct Stroke {
    var points: [SIMD2<Float>]
    var isRound = false

    init(_ points: [SIMD2<Float>]) { self.points = points }

    static func round(_ coordinates: Float...) -> Stroke {
      var stroke = line(coordinates)
      stroke.isRound = true
      return stroke
    }

    static func straight(_ coordinates: Float...) -> Stroke { line(coordinates) }

    private static func line(_ coordinates: [Float]) -> Stroke {
      Stroke(
        stride(from: 0, to: coordinates.count, by: 2).map { SIMD2(coordinates[$0], coordinates[$0 + 1]) })
    }

    /// Pieces that are short enough to look bent (Catmull and Rom's spline through the points).
    var polyline: [SIMD2<Float>] {
      if !isRound { return points }
      var result = [points[0]]
      for index in 0..<points.count - 1 {
        let (b, c) = (points[index], points[index + 1])
        let (a, d) = (index > 0 ? points[index - 1] : b, index + 2 < points.count ? points[index + 2] : c)
        for step in 1...5 {
          let t = Float(step) / 5
          let cubic: SIMD2<Float> = (b - c) * 3 + (d - a)
          let square: SIMD2<Float> = a * 2 - b * 5 + c * 4 - d
          result.append((((cubic * t + square) * t + (c - a)) * t + b * 2) * 0.5)
        }
      }
      return result
    }
  }

  /// The ways of writing each digit, in a box of width and height 1 with y downwards.
  private static let shapes: [[[Stroke]]] = [
    [
      [.round(0.5, 0.04, 0.23, 0.17, 0.14, 0.5, 0.24, 0.84, 0.5, 0.96, 0.77, 0.83, 0.86, 0.5, 0.78, 0.17, 0.5, 0.04)],
      [.round(0.62, 0.1, 0.36, 0.06, 0.16, 0.34, 0.2, 0.78, 0.48, 0.96, 0.78, 0.76, 0.84, 0.36, 0.66, 0.08, 0.4, 0.1)],
    ],
    [
      [.straight(0.52, 0.04, 0.5, 0.96)],
      [.straight(0.3, 0.27, 0.56, 0.04, 0.53, 0.96)],
      [.straight(0.3, 0.24, 0.53, 0.04, 0.52, 0.95), .straight(0.27, 0.95, 0.77, 0.95)],
    ],
    [
      [
        .round(0.18, 0.27, 0.31, 0.09, 0.55, 0.04, 0.77, 0.17, 0.74, 0.38, 0.5, 0.64, 0.17, 0.93),
        .straight(0.17, 0.93, 0.85, 0.92),
      ],
      [
        .round(
          0.2, 0.22, 0.42, 0.05, 0.7, 0.12, 0.74, 0.36, 0.52, 0.66, 0.28, 0.9, 0.13, 0.86, 0.24, 0.74, 0.5, 0.84, 0.88,
          0.93)
      ],
    ],
    [
      [
        .round(0.18, 0.16, 0.42, 0.04, 0.72, 0.14, 0.7, 0.36, 0.4, 0.46),
        .round(0.4, 0.46, 0.72, 0.53, 0.82, 0.74, 0.62, 0.93, 0.34, 0.95, 0.13, 0.83),
      ],
      [
        .straight(0.18, 0.07, 0.76, 0.07, 0.42, 0.42),
        .round(0.42, 0.42, 0.76, 0.52, 0.8, 0.76, 0.55, 0.95, 0.16, 0.87),
      ],
    ],
    [
      [.straight(0.62, 0.04, 0.12, 0.63, 0.9, 0.63), .straight(0.64, 0.04, 0.62, 0.96)],
      [.round(0.25, 0.06, 0.2, 0.3, 0.2, 0.52), .straight(0.2, 0.52, 0.8, 0.5), .straight(0.76, 0.08, 0.7, 0.96)],
    ],
    [
      [
        .straight(0.8, 0.07, 0.29, 0.07, 0.24, 0.45),
        .round(0.24, 0.45, 0.5, 0.37, 0.77, 0.49, 0.8, 0.72, 0.6, 0.92, 0.34, 0.95, 0.14, 0.84),
      ],
      [
        .round(0.3, 0.1, 0.26, 0.28, 0.28, 0.42),
        .round(0.28, 0.42, 0.6, 0.4, 0.8, 0.6, 0.68, 0.88, 0.4, 0.96, 0.16, 0.88),
        .straight(0.3, 0.1, 0.82, 0.05),
      ],
    ],
    [
      [.round(0.7, 0.04, 0.42, 0.22, 0.22, 0.52, 0.24, 0.82, 0.5, 0.96, 0.76, 0.83, 0.76, 0.61, 0.52, 0.5, 0.25, 0.66)],
      [.round(0.36, 0.04, 0.22, 0.36, 0.2, 0.72, 0.42, 0.95, 0.72, 0.88, 0.78, 0.64, 0.54, 0.54, 0.22, 0.7)],
    ],
    [
      [.straight(0.14, 0.08, 0.84, 0.08), .round(0.84, 0.08, 0.6, 0.42, 0.44, 0.96)],
      [.straight(0.14, 0.08, 0.84, 0.08), .round(0.84, 0.08, 0.6, 0.42, 0.44, 0.96), .straight(0.34, 0.5, 0.74, 0.48)],
      [.straight(0.18, 0.22, 0.2, 0.07, 0.8, 0.07), .straight(0.8, 0.07, 0.46, 0.96)],
    ],
    [
      [
        .round(
          0.74, 0.17, 0.5, 0.04, 0.26, 0.19, 0.37, 0.41, 0.64, 0.56, 0.79, 0.76, 0.5, 0.96, 0.21, 0.77, 0.36, 0.56,
          0.64, 0.4,
          0.74, 0.17)
      ],
      [
        .round(0.5, 0.48, 0.27, 0.36, 0.3, 0.12, 0.52, 0.04, 0.73, 0.14, 0.72, 0.36, 0.5, 0.48),
        .round(0.5, 0.48, 0.23, 0.62, 0.24, 0.86, 0.5, 0.96, 0.78, 0.85, 0.77, 0.6, 0.5, 0.48),
      ],
    ],
    [
      [
        .round(0.77, 0.26, 0.6, 0.06, 0.35, 0.07, 0.21, 0.27, 0.34, 0.48, 0.6, 0.46, 0.77, 0.26),
        .round(0.77, 0.26, 0.74, 0.62, 0.62, 0.96),
      ],
      [
        .round(
          0.76, 0.3, 0.6, 0.06, 0.34, 0.08, 0.22, 0.3, 0.38, 0.48, 0.64, 0.42, 0.76, 0.22, 0.78, 0.66, 0.58, 0.94, 0.26,
          0.88)
      ],
    ],
  ]

  private static func image(of digit: Int, using random: inout RandomSource) -> [UInt8] {
    let ways = shapes[digit]
    let strokes = ways[random.integer(below: ways.count)]
    let height = random.uniform(in: Float(14)...20.5)
    let width = height * random.uniform(in: Float(0.5)...0.85)
    let slant = random.uniform(in: Float(-0.2)...0.5)
    // Near enough a rotation for small angles.
    let turn = random.uniform(in: Float(-0.22)...0.22)
    let middle = SIMD2(13.5 + random.uniform(in: Float(-2.5)...2.5), 13.5 + random.uniform(in: Float(-1.5)...1.5))
    let unsteadiness = random.uniform(in: Float(0.01)...0.05)
    let thickness = random.uniform(in: Float(0.65)...1.6)
    let ink = random.uniform(in: Float(0.8)...1)
    var distances = [Float](repeating: 9, count: side * side)
    for var stroke in strokes {
      for index in stroke.points.indices {
        let wobble = SIMD2(random.roughNormal(), random.roughNormal()) * unsteadiness
        let p = (stroke.points[index] + wobble - 0.5) * SIMD2(width, height)
        let slanted = SIMD2(p.x - slant * p.y, p.y)
        stroke.points[index] = middle + SIMD2(slanted.x - turn * slanted.y, slanted.y + turn * slanted.x)
      }
      let line = stroke.polyline
      for (a, b) in zip(line, line.dropFirst()) { draw(a, b, reach: thickness + 1, onto: &distances) }
    }
    return distances.map { distance in
      let coverage = smoothStep((thickness - distance) / 1.3 + 0.5) * ink
      return byte(coverage + 0.04 * random.roughNormal())
    }
  }

  /// Lowers distances to that from a piece of a line, where it is within reach.
  private static func draw(
    _ a: SIMD2<Float>, _ b: SIMD2<Float>, reach: Float, onto distances: inout [Float]
  ) {
    func range(_ p: Float, _ q: Float) -> ClosedRange<Int>? {
      let first = max(0, Int(max(0, min(p, q) - reach)))
      let last = min(side - 1, Int(max(-1, max(p, q) + reach)))
      return first <= last ? first...last : nil
    }
    guard let columns = range(a.x, b.x), let rows = range(a.y, b.y) else { return }
    for y in rows {
      for x in columns {
        let distance = segmentDistance(SIMD2(Float(x), Float(y)), a, b)
        if distance < distances[y * side + x] { distances[y * side + x] = distance }
      }
    }
  }
}
