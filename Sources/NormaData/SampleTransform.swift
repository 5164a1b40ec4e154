#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// What one sample undergoes: the values drawn from an `Augmentation`.
///
/// Output pixel p reads from the slice at centre + shift + linear·symmetry·(p − middle) + elastic(p).
struct SampleTransform: Equatable {
  /// A 2×2 matrix, rows (xx, xy) and (yx, yy).
  struct Linear: Equatable {
    var xx: Float = 1
    var xy: Float = 0
    var yx: Float = 0
    var yy: Float = 1
  }

  var symmetry = Symmetry.identity
  var linear = Linear()
  /// In pixels.
  var shift = SIMD2<Float>(0, 0)
  var elastic = ElasticGrid.none
  var grey = GreyVariation.none

  /// Whether pixels are copied without interpolation.
  var isExact: Bool { linear == Linear() && shift == SIMD2(0, 0) && elastic == .none }

  /// Linear map after symmetry.
  var composed: Linear {
    let s = symmetry.matrix
    return Linear(
      xx: linear.xx * Float(s.xx) + linear.xy * Float(s.yx),
      xy: linear.xx * Float(s.xy) + linear.xy * Float(s.yy),
      yx: linear.yx * Float(s.xx) + linear.yy * Float(s.yx),
      yy: linear.yx * Float(s.xy) + linear.yy * Float(s.yy))
  }
}

extension Augmentation {
  /// Draws what one sample undergoes.
  ///
  /// - Parameters:
  ///   - side: the crop's side in pixels.
  ///   - random: where the numbers come from; the same count is drawn whatever is switched off, so that
  ///     switching one variation off leaves the others as they were.
  func draw(side: Int, using random: inout RandomSource) -> SampleTransform {
    var transform = SampleTransform()
    let symmetry = random.integer(below: 8)
    if symmetries { transform.symmetry = Symmetry(index: symmetry) }

    let angle = random.uniform(in: -rotation...rotation) * .pi / 180
    let slant = tan(random.uniform(in: -shear...shear))
    // Reading farther apart shows less zoom, hence the inverse.
    let scale = 1 / (1 + random.uniform(in: -zoom...zoom))
    let (cosine, sine) = (cos(angle), sin(angle))
    transform.linear = SampleTransform.Linear(
      xx: scale * cosine, xy: scale * (cosine * slant - sine),
      yx: scale * sine, yy: scale * (sine * slant + cosine))
    let reach = shift * Float(side)
    transform.shift.x = random.uniform(in: -reach...reach)
    transform.shift.y = random.uniform(in: -reach...reach)

    let deviation = min(elastic, 0.05 * Float(side))
    let grid = ElasticGrid(deviation: deviation, using: &random)
    if deviation > 0 { transform.elastic = grid }

    let power = random.uniform(in: -gamma...gamma)
    transform.grey = GreyVariation(
      gamma: power < 0 ? 1 / (1 - power) : 1 + power,
      contrast: 1 + random.uniform(in: -contrast...contrast),
      brightness: random.uniform(in: -brightness...brightness),
      noise: random.uniform(in: 0...noise),
      noiseSeed: random.next())
    return transform
  }
}
