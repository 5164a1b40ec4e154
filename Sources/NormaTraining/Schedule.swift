#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The learning rate over the steps of a run, as a factor of the base rate.
public enum Schedule: Sendable, Equatable {
  case constant
  /// Multiplied by `factor` every `epochs` epochs.
  case step(epochs: Int, factor: Double)
  /// Half a cosine from the base rate to 0 over the run (Loshchilov & Hutter 2017, without restarts).
  case cosine
  /// Triangles between `low` and 1 times the base rate, up over `halfCycle` steps and down again
  /// (Smith 2017, "triangular").
  case cyclic(halfCycle: Int, low: Double)
  /// Up from 1/25 of the base rate over 30 % of the run, down to 1/10,000 of that start, both along
  /// half cosines (Smith & Topin 2019; shape and numbers as in PyTorch).
  case oneCycle
  /// Multiplied by `factor` whenever the validation loss has not become lower by 0.01 % in more than `patience` epochs, as
  /// PyTorch's ReduceLROnPlateau.
  case plateau(patience: Int, factor: Double)

  public static let knownNames = [
    "constant", "step[:EPOCHS[:FACTOR]]", "cosine", "cyclic[:HALF_CYCLE_STEPS[:LOW]]", "one-cycle",
    "plateau[:PATIENCE[:FACTOR]]",
  ]

  /// - Throws: ``TrainingError`` that lists the known names.
  public init(parsing text: String) throws {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    func number<Number: LosslessStringConvertible & Comparable>(
      _ index: Int, default fallback: Number, above zero: Number, upTo limit: Number
    ) throws -> Number {
      guard index < parts.count else { return fallback }
      guard let value = Number(parts[index]), value > zero, value <= limit else {
        throw TrainingError(
          "schedule '\(text)': '\(parts[index])' should be a number above 0 and at most \(limit)")
      }
      return value
    }
    switch (parts[0], parts.count) {
    case ("constant", 1): self = .constant
    case ("step", 1...3):
      self = .step(
        epochs: try number(1, default: 2, above: 0, upTo: 1_000_000_000),
        factor: try number(2, default: 0.1, above: 0, upTo: 1_000_000))
    case ("cosine", 1): self = .cosine
    case ("cyclic", 1...3):
      self = .cyclic(
        halfCycle: try number(1, default: 971, above: 0, upTo: 1_000_000_000),
        low: try number(2, default: 0.1, above: 0, upTo: 1))
    case ("one-cycle", 1): self = .oneCycle
    case ("plateau", 1...3):
      self = .plateau(
        patience: try number(1, default: 10, above: 0, upTo: 1_000_000_000),
        factor: try number(2, default: 0.1, above: 0, upTo: 1))
    default:
      throw TrainingError(
        "unknown schedule '\(text)'; the known ones are \(Self.knownNames.joined(separator: ", "))")
    }
  }

  /// What ``init(parsing:)`` takes.
  public var name: String {
    switch self {
    case .constant: "constant"
    case .step(let epochs, let factor): "step:\(epochs):\(factor)"
    case .cosine: "cosine"
    case .cyclic(let halfCycle, let low): "cyclic:\(halfCycle):\(low)"
    case .oneCycle: "one-cycle"
    case .plateau(let patience, let factor): "plateau:\(patience):\(factor)"
    }
  }

  /// The factor at a step (from 0) of a run.
  /// - Parameter validationLosses: those of the epochs before.
  public func factor(
    step: Int, totalSteps: Int, stepsPerEpoch: Int, validationLosses: [Double] = []
  ) -> Double {
    func half(_ progress: Double, from start: Double, to end: Double) -> Double {
      end + (start - end) * (1 + cos(Double.pi * progress)) / 2
    }
    switch self {
    case .constant: return 1
    case .step(let epochs, let factor):
      return pow(factor, Double(step / max(1, stepsPerEpoch * epochs)))
    case .cosine: return half(Double(step) / Double(max(1, totalSteps)), from: 1, to: 0)
    case .cyclic(let halfCycle, let low):
      let position = Double(step % (2 * halfCycle)) / Double(halfCycle)
      return low + (1 - low) * (1 - abs(position - 1))
    case .oneCycle:
      let last = Double(max(1, totalSteps) - 1)
      // PyTorch's count; never 0.
      let peak = 0.3 * Double(max(1, totalSteps)) - 1
      let now = Double(step)
      return now <= peak
        ? half(now / peak, from: 1 / 25, to: 1)
        : half((now - peak) / (last - peak), from: 1, to: 1 / 25 * 1e-4)
    case .plateau(let patience, let factor):
      // From the losses alone, so that a training that goes on has no state of the schedule to restore.
      var (best, waited, reductions) = (Double.infinity, 0, 0)
      for loss in validationLosses {
        if loss < best * (1 - 1e-4) || best == .infinity {
          (best, waited) = (loss, 0)
        } else {
          waited += 1
          if waited > patience { (waited, reductions) = (0, reductions + 1) }
        }
      }
      return pow(factor, Double(reductions))
    }
  }
}
