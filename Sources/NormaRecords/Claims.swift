// What `norma claims` finds; Documentation/Results.md describes every field.

/// One claim about normalization and what an experiment says about it.
public struct ClaimRecord: Codable, Sendable, Equatable {
  public enum Answer: String, Codable, Sendable {
    case held
    case didNotHold = "did not hold"
    case undecided
  }

  /// The name on the command line.
  public var name: String
  public var statement: String
  public var source: String
  /// What was done, in a sentence.
  public var experiment: String
  /// What the measurements are numbers of, and what they are varied over.
  public var quantity: String
  public var condition: String
  public var measurements: [MeasurementRecord]
  public var tests: [ClaimTestRecord]
  public var answer: Answer
  public var seconds: Double

  public init(
    name: String, statement: String, source: String, experiment: String, quantity: String, condition: String,
    measurements: [MeasurementRecord], tests: [ClaimTestRecord], answer: Answer, seconds: Double
  ) {
    self.name = name
    self.statement = statement
    self.source = source
    self.experiment = experiment
    self.quantity = quantity
    self.condition = condition
    self.measurements = measurements
    self.tests = tests
    self.answer = answer
    self.seconds = seconds
  }
}

/// The values of one arm under one condition, one per seed.
public struct MeasurementRecord: Codable, Sendable, Equatable {
  /// What the values are numbers of: the claim's quantity, or one that follows from it.
  public var quantity: String
  /// Such as a norm.
  public var arm: String
  /// Such as a learning rate; empty where nothing is varied but the arm.
  public var condition: String
  /// By ascending seeds.
  public var values: [Double]

  public init(quantity: String, arm: String, condition: String, values: [Double]) {
    self.quantity = quantity
    self.arm = arm
    self.condition = condition
    self.values = values
  }
}

/// A question that the answer to a claim rests on: all tests of a claim must hold.
public struct ClaimTestRecord: Codable, Sendable, Equatable {
  /// Such as "batch − none".
  public var question: String
  /// Differences, seed by seed.
  public var difference: SpreadRecord
  /// The smallest difference that would matter.
  public var margin: Double
  public var answer: ClaimRecord.Answer

  public init(question: String, difference: SpreadRecord, margin: Double, answer: ClaimRecord.Answer) {
    self.question = question
    self.difference = difference
    self.margin = margin
    self.answer = answer
  }
}

/// claims.json.
public struct ClaimsRecord: Codable, Sendable, Equatable {
  public static let currentVersion = 1
  public var schemaVersion = ClaimsRecord.currentVersion
  /// ISO 8601, UTC.
  public var started: String
  public var environment: EnvironmentRecord
  /// Every option by its name on the command line.
  public var configuration: [String: String]
  public var data: String
  public var claims: [ClaimRecord]

  public init(
    started: String, environment: EnvironmentRecord, configuration: [String: String], data: String,
    claims: [ClaimRecord] = []
  ) {
    self.started = started
    self.environment = environment
    self.configuration = configuration
    self.data = data
    self.claims = claims
  }
}
