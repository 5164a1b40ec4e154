import NormaRecords
import NormaStatistics

extension Claim.Test {
  /// By the 95 % t interval of the differences seed by seed.
  ///
  /// *Greater* has held when the interval lies above 0, and has not when it lies below the margin: then the difference is
  /// too small to matter, or has the other sign. *Not worse* has held above −margin, and has not below. All else is undecided.
  func answer(_ values: [Claim.Place: [Double]]) -> ClaimTestRecord {
    switch kind {
    case .greater(let a, let b):
      let found = difference(a, b, values)
      return ClaimTestRecord(
        question: "\(name(a, b)) > 0", difference: found.spread, margin: margin,
        answer: found.interval.upper < margin ? .didNotHold : found.interval.lower > 0 ? .held : .undecided)
    case .notWorse(let a, let b):
      let found = difference(a, b, values)
      return ClaimTestRecord(
        question: "\(name(a, b)) > −\(margin)", difference: found.spread, margin: margin,
        answer: found.interval.lower > -margin ? .held : found.interval.upper < -margin ? .didNotHold : .undecided)
    case .differ(let places):
      return differ(places, values)
    }
  }

  /// Held when a pair differs after Holm's correction, by the margin at least; not when no pair differs by as much.
  private func differ(_ places: [Claim.Place], _ values: [Claim.Place: [Double]]) -> ClaimTestRecord {
    let pairs = places.indices.flatMap { i in places.indices.dropFirst(i + 1).map { (places[i], places[$0]) } }
    let found = pairs.map { difference($0.0, $0.1, values) }
    let adjusted = holmAdjusted(found.map { $0.pValue })
    let largest = found.indices.max { abs(found[$0].spread.mean) < abs(found[$1].spread.mean) } ?? 0
    let differs = found.indices.contains { adjusted[$0] < 0.05 && abs(found[$0].spread.mean) >= margin }
    let alike = found.allSatisfy { $0.interval.lower > -margin && $0.interval.upper < margin }
    return ClaimTestRecord(
      question: "\(name(pairs[largest].0, pairs[largest].1)), the largest of \(pairs.count) differences",
      difference: found[largest].spread, margin: margin, answer: differs ? .held : alike ? .didNotHold : .undecided)
  }

  private typealias Difference = (spread: SpreadRecord, interval: (lower: Double, upper: Double), pValue: Double)

  private func difference(_ a: Claim.Place, _ b: Claim.Place, _ values: [Claim.Place: [Double]]) -> Difference {
    let compared = PairedComparison(a.arm, values[a] ?? [], b.arm, values[b] ?? [])
    let mean = compared.difference.mean
    let half = compared.halfWidth ?? .infinity
    return (
      SpreadRecord(
        count: compared.difference.count, mean: mean, deviation: compared.difference.deviation,
        halfWidth: compared.halfWidth),
      (mean - half, mean + half), compared.pValue ?? 1
    )
  }

  private func name(_ a: Claim.Place, _ b: Claim.Place) -> String {
    (a.quantity.map { "\($0): " } ?? "") + difference(a, b)
  }

  private func difference(_ a: Claim.Place, _ b: Claim.Place) -> String {
    a.condition == b.condition
      ? "\(a.arm) − \(b.arm)" + (a.condition.isEmpty ? "" : " at \(a.condition)")
      : a.arm == b.arm
        ? "\(a.arm): \(a.condition) − \(b.condition)" : "\(a.arm) \(a.condition) − \(b.arm) \(b.condition)"
  }
}

extension ClaimRecord.Answer {
  /// Of a claim whose tests must all hold.
  init(all answers: [ClaimRecord.Answer]) {
    self = answers.contains(.didNotHold) ? .didNotHold : answers.contains(.undecided) ? .undecided : .held
  }
}
