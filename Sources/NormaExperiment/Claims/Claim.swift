import NormaRecords

/// A textbook claim about normalization, and the experiment that puts it to the test.
public struct Claim: Sendable {
  /// The name on the command line.
  public let name: String
  /// The claim itself, as a sentence.
  public let statement: String
  /// The paper that makes it, and where in it.
  public let source: String
  /// What is done, in a sentence.
  public let experiment: String
  /// What is measured, and what it is measured over.
  let quantity: String
  let condition: String
  let tests: [Test]
  /// All arms under all conditions for one seed.
  let measure: @Sendable (ClaimSetting, _ seed: UInt64) throws -> [Value]

  /// How much may be spent.
  public enum Budget: String, Sendable, CaseIterable {
    /// 150 or 400 training steps per trial, from which some claims depart, and by default 5 or 10 seeds.
    case quick, full
    /// Training steps of a trial.
    var steps: Int { self == .quick ? 150 : 400 }
    /// How many seeds are measured unless told otherwise: 5 or 10.
    public var seeds: Int { self == .quick ? 5 : 10 }
  }

  struct Value {
    var quantity: String?
    let arm: String
    let condition: String
    let value: Double
  }

  struct Place: Hashable {
    /// nil for the claim's own.
    var quantity: String?
    let arm: String
    let condition: String
  }

  struct Test {
    enum Kind {
      /// The first is greater than the second.
      case greater(Place, Place)
      /// The first is not smaller than the second by the margin or more.
      case notWorse(Place, Place)
      /// Some of them differ from others.
      case differ([Place])
    }
    let kind: Kind
    /// The smallest difference that would matter.
    let margin: Double
  }

  /// Measures all seeds and answers.
  /// - Parameter onSeed: called after every seed, with the number of those that are done.
  public func run(
    _ setting: ClaimSetting, seeds: [UInt64], onSeed: (Int) -> Void = { _ in }
  ) throws -> ClaimRecord {
    var places: [Place] = []
    var values: [Place: [Double]] = [:]
    let clock = ContinuousClock()
    let start = clock.now
    for (index, seed) in seeds.enumerated() {
      for value in try measure(setting, seed) {
        let place = Place(quantity: value.quantity, arm: value.arm, condition: value.condition)
        if values[place] == nil { places.append(place) }
        values[place, default: []].append(value.value)
      }
      onSeed(index + 1)
    }
    let results = tests.map { $0.answer(values) }
    return ClaimRecord(
      name: name, statement: statement, source: source, experiment: experiment, quantity: quantity,
      condition: condition,
      measurements: places.map {
        MeasurementRecord(quantity: $0.quantity ?? quantity, arm: $0.arm, condition: $0.condition, values: values[$0]!)
      },
      tests: results, answer: ClaimRecord.Answer(all: results.map(\.answer)), seconds: (clock.now - start) / .seconds(1)
    )
  }
}

/// What all claims share.
public struct ClaimSetting: Sendable {
  /// What the classifiers learn.
  public let data: ClaimData
  /// Decides how long trials are.
  public let budget: Claim.Budget

  /// - Parameter budget: how long trials are; the seeds are given to ``Claim/run(_:seeds:onSeed:)``.
  public init(data: ClaimData, budget: Claim.Budget) {
    self.data = data
    self.budget = budget
  }

  var trial: ClaimTrial {
    var trial = ClaimTrial()
    trial.steps = budget.steps
    return trial
  }

  /// Halfway between guessing and knowing.
  var learned: Double { (1 + 1 / Double(data.classes)) / 2 }
}
