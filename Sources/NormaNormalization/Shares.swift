import NormaTensor

/// How much of each branch is in a mix: numbers that sum to 1, and how a gradient goes back to what they came from.
struct Shares: Sendable {
  let values: [Double]
  /// From ∂L/∂values to ∂L/∂logits.
  let pullback: @Sendable ([Double]) -> [Double]

  /// A single branch.
  static let one = Shares(values: [1]) { _ in [0] }
}

/// How much of each branch mean and variance have.
enum Mixture {
  /// There is one branch.
  case one
  case fixed(mean: [Double], variance: [Double])
  /// Logits [K], one per branch.
  case learned(mean: Tensor, variance: Tensor, MixingRule)

  var logits: (mean: Tensor, variance: Tensor)? {
    if case .learned(let mean, let variance, _) = self { (mean, variance) } else { nil }
  }

  /// - Parameters: the logits' numbers, where there are logits.
  func shares(_ mean: [Double]?, _ variance: [Double]?) -> (mean: Shares, variance: Shares) {
    switch self {
    case .one: return (.one, .one)
    case .fixed(let mean, let variance):
      let none: @Sendable ([Double]) -> [Double] = { $0.map { _ in 0 } }
      return (Shares(values: mean, pullback: none), Shares(values: variance, pullback: none))
    case .learned(_, _, let rule): return (rule.shares(mean ?? []), rule.shares(variance ?? []))
    }
  }
}

/// From logits to the shares of a mix.
enum MixingRule: Sendable, Equatable {
  /// softmax(logits / temperature). A temperature below 1 sharpens, one above 1 levels.
  case softmax(temperature: Double = 1)
  /// SparsestMax: the point of the simplex nearest to the logits, at least `radius` away from its center. Radius 0 is
  /// sparsemax, radius √((K − 1) / K) selects one branch.
  ///
  /// Shao et al. 2019, "SSN: Learning Sparse Switchable Normalization via SparsestMax", section 3.2.
  case sparsest(radius: Double)

  func shares(_ logits: [Double]) -> Shares {
    switch self {
    case .softmax(let temperature):
      let greatest = logits.max() ?? 0
      let values = exponentialShares(logits.map { ($0 - greatest) / temperature })
      return Shares(values: values) { gradient in
        let average = zip(values, gradient).reduce(0) { $0 + $1.0 * $1.1 }
        return zip(values, gradient).map { $0 * ($1 - average) / temperature }
      }
    case .sparsest(let radius): return sparsestMax(logits, radius: radius)
    }
  }
}

/// The radius at which SparsestMax of K logits selects one of them: the corners' distance from the simplex's center.
func selectingRadius(_ count: Int) -> Double { (Double(count - 1) / Double(count)).squareRoot() }

/// Projects the logits onto the simplex; where the result is nearer to the center than the radius, pushes it away from
/// the center onto the circle, and where that leaves the simplex, goes on in the face that it left through.
private func sparsestMax(_ logits: [Double], radius: Double) -> Shares {
  var point = sparsemax(logits)
  var pullbacks: [@Sendable ([Double]) -> [Double]] = [projectionPullback(point)]
  var face = Set(logits.indices)
  // Within a face of k corners the circle's radius shrinks by the distance of the face's center from the whole's.
  while face.count > 1 {
    let center = logits.indices.map { face.contains($0) ? 1 / Double(face.count) : 0 }
    let offset = 1 / Double(face.count) - 1 / Double(logits.count)
    let within = max(0, radius * radius - offset).squareRoot()
    var direction = zip(point, center).map { $0 - $1 }
    var distance = direction.reduce(0) { $0 + $1 * $1 }.squareRoot()
    guard distance < within - 1e-12 else { break }
    if distance < 1e-12 {
      // At the center every direction is as near: the first branch's, as a fixed choice. No gradient comes from there.
      let first = face.min()!
      direction = logits.indices.map { face.contains($0) ? ($0 == first ? 1 : 0) - 1 / Double(face.count) : 0 }
      distance = direction.reduce(0) { $0 + $1 * $1 }.squareRoot()
      pullbacks.append { gradient in gradient.map { _ in 0 } }
    } else {
      let (unit, scale) = (direction.map { [distance] in $0 / distance }, within / distance)
      // d(within · δ/|δ|) = within/|δ| (I − u uᵀ) dδ
      pullbacks.append { gradient in
        let along = zip(unit, gradient).reduce(0) { $0 + $1.0 * $1.1 }
        return zip(unit, gradient).map { scale * ($1 - along * $0) }
      }
    }
    let pushed = zip(center, direction).map { $0 + $1 * within / distance }
    point = sparsemax(pushed)
    let left = Set(point.indices.filter { point[$0] > 1e-12 })
    guard left.count < face.count else { break }
    pullbacks.append(projectionPullback(point))
    face = left
  }
  if face.count == 1 { point = logits.indices.map { face.contains($0) ? 1 : 0 } }
  let steps = pullbacks
  return Shares(values: point) { gradient in steps.reversed().reduce(gradient) { $1($0) } }
}

/// The nearest point of the simplex. Martins & Astudillo 2016, algorithm 1.
private func sparsemax(_ logits: [Double]) -> [Double] {
  var (sum, threshold) = (0.0, 0.0)
  for (index, logit) in logits.sorted(by: >).enumerated() {
    sum += logit
    let candidate = (sum - 1) / Double(index + 1)
    if logit > candidate { threshold = candidate }
  }
  return logits.map { max(0, $0 - threshold) }
}

/// Gradients of ``sparsemax(_:)``: those of the result's nonzero places, less their mean.
private func projectionPullback(_ point: [Double]) -> @Sendable ([Double]) -> [Double] {
  let support = point.map { $0 > 0 }
  let count = Double(support.count { $0 })
  return { gradient in
    let mean = zip(support, gradient).reduce(0) { $0 + ($1.0 ? $1.1 : 0) } / count
    return zip(support, gradient).map { $0 ? $1 - mean : 0 }
  }
}
