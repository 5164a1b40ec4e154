/// A neurite of the synthetic stack: an elliptic tube that wanders, swells and thins along the slices.
struct SyntheticCell {
  /// Where the tube meets one slice.
  struct Section {
    var x: Float
    var y: Float
    var radius: Float
  }

  /// One section per slice.
  let sections: [Section]
  /// Unit vector along the section's long axis.
  let axis: SIMD2<Float>
  /// Square root of the ratio of the axes, at least 1.
  let stretch: Float
  /// Grey value of the cytoplasm, 0…1.
  let grey: Float
  /// Whether the section holds vesicles.
  let holdsVesicles: Bool
  let mitochondrion: Mitochondrion?

  /// A tilted ellipsoid within the cell.
  struct Mitochondrion {
    /// From the cell's centre, in pixels.
    var offset: SIMD2<Float>
    var axis: SIMD2<Float>
    /// Half the lengths along and across the axis, in pixels.
    var halfLength: Float
    var halfWidth: Float
    /// The slice it is thickest on, and half its extent in slices.
    var middleSlice: Float
    var halfSlices: Float
    var stripePhase: Float
  }

  /// Scaled distance of the point from the cell's rim, negative inside, and its gradient.
  @inline(__always)
  func distance(_ x: Float, _ y: Float, slice: Int) -> (value: Float, gradient: SIMD2<Float>) {
    let section = sections[slice]
    let offset = SIMD2(x - section.x, y - section.y)
    let along = (offset.x * axis.x + offset.y * axis.y) / stretch
    let across = (offset.y * axis.x - offset.x * axis.y) * stretch
    let distance = (along * along + across * across + 1e-6).squareRoot()
    let slopeAlong = along / (distance * stretch)
    let slopeAcross = across * stretch / distance
    return (
      distance - section.radius,
      SIMD2(
        slopeAlong * axis.x - slopeAcross * axis.y, slopeAlong * axis.y + slopeAcross * axis.x)
    )
  }

  /// Draws the cells of a stack: centres keep some distance, sizes vary widely.
  static func draw(width: Int, height: Int, slices: Int, using random: inout RandomSource) -> [SyntheticCell] {
    let margin: Float = 40
    let (spanX, spanY) = (Float(width) + 2 * margin, Float(height) + 2 * margin)
    let areaPerCell: Float = 1750
    let count = max(6, Int(spanX * spanY / areaPerCell))
    var centres: [SIMD2<Float>] = []
    for _ in 0..<count {
      var best = SIMD2<Float>(0, 0)
      var bestSquare: Float = -1
      for _ in 0..<3 {
        let candidate = SIMD2(
          random.uniform(in: -margin...spanX - margin), random.uniform(in: -margin...spanY - margin))
        let square = centres.reduce(Float.greatestFiniteMagnitude) {
          let offset = candidate - $1
          return min($0, offset.x * offset.x + offset.y * offset.y)
        }
        if square > bestSquare { (best, bestSquare) = (candidate, square) }
      }
      centres.append(best)
    }
    return centres.map { SyntheticCell(centre: $0, slices: slices, using: &random) }
  }

  private init(centre: SIMD2<Float>, slices: Int, using random: inout RandomSource) {
    let u = random.uniform(in: Float(0)...1)
    let radius = 26 * u * u * u
    let knots = slices / 5 + 4
    func path(_ amplitude: Float) -> [Float] {
      (0..<knots).map { _ in random.uniform(in: -amplitude...amplitude) }
    }
    let (pathX, pathY, pathR) = (path(14), path(14), path(9))
    let velocity = SIMD2(random.uniform(in: Float(-0.9)...0.9), random.uniform(in: Float(-0.9)...0.9))
    sections = (0..<slices).map { slice in
      let spline = BSpline(at: Float(slice) / 5)
      let time = Float(slice) - Float(slices) / 2
      return Section(
        x: centre.x + velocity.x * time + spline.blend(pathX, from: 0, step: 1),
        y: centre.y + velocity.y * time + spline.blend(pathY, from: 0, step: 1),
        radius: radius + spline.blend(pathR, from: 0, step: 1))
    }
    axis = random.direction()
    stretch = random.uniform(in: Float(1)...1.55)
    let dark = random.uniform() < 0.12
    grey = random.uniform(in: Float(0.6)...0.7) - (dark ? 0.13 : 0)
    holdsVesicles = random.uniform() < 0.3
    let bearing = random.uniform() < (radius > 8 ? 0.75 : 0.12)
    let mitochondrion = Mitochondrion(
      offset: SIMD2(random.uniform(in: Float(-7)...7), random.uniform(in: Float(-7)...7)),
      axis: random.direction(),
      halfLength: random.uniform(in: Float(14)...25), halfWidth: random.uniform(in: Float(9)...15),
      middleSlice: random.uniform(in: Float(0)...Float(slices)),
      halfSlices: random.uniform(in: Float(5)...12), stripePhase: random.uniform(in: Float(0)...1))
    self.mitochondrion = bearing ? mitochondrion : nil
  }
}

extension RandomSource {
  /// A unit vector in a random direction, drawn without sines.
  mutating func direction() -> SIMD2<Float> {
    while true {
      let x = uniform(in: Float(-1)...1)
      let y = uniform(in: Float(-1)...1)
      let square = x * x + y * y
      if square > 0.01 && square < 1 { return SIMD2(x, y) / square.squareRoot() }
    }
  }
}
