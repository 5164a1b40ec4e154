import ArgumentParser
import NormaRecords
import NormaTraining

/// What is varied besides the norm, and what norms are compared by.
struct GridOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Runs of every norm, with the seeds --seed, --seed + 1, …; 5 or more can show a difference.", valueName: "count"))
  var seeds = 1

  @Option(
    help: ArgumentHelp("Batch sizes, each compared by itself. (default: --batch-size)", valueName: "list"),
    transform: { try GridList(parsing: $0, "a whole number in 1…65536") { (1...65_536).contains($0) } })
  var batchSizes: GridList<Int>?

  @Option(
    help: ArgumentHelp(
      "Learning rates to choose from for every norm and batch size, by validation loss. (default: --learning-rate)",
      valueName: "list"),
    transform: { try GridList(parsing: $0, "a number above 0") { $0 > 0 && $0.isFinite } })
  var learningRates: GridList<Double>?

  @Option(
    help: ArgumentHelp(
      "Optimizers to compare every norm with, with a momentum after a colon if it is not the default: sgd:0,sgd,nesterov,adam. "
        + "Each takes the best of --learning-rates. (default: --optimizer)", valueName: "list"),
    transform: OptimizerList.init(parsing:))
  var optimizers: OptimizerList?

  @Option(
    help: ArgumentHelp(
      "What norms are compared by: \(ScoreName.allCases.map(\.rawValue).joined(separator: ", ")). rand, info, rand-error and "
        + "warping-error need two classes and are taken at the threshold that gives the best V_Rand on the validation slices. "
        + "(default: \(ModelName.defaultsTold { $0.scores[0].rawValue }))",
      valueName: "score"))
  var score: ScoreName?

  func validate() throws {
    guard (1...10_000).contains(seeds) else { throw ValidationError("--seeds must be in 1…10000, got \(seeds).") }
  }
}

extension ScoreName: ExpressibleByArgument {}

/// Different optimizers, separated by commas.
struct OptimizerList: Sendable {
  let values: [OptimizerChoice]

  init(parsing text: String) throws {
    values = try commaSeparated(text).map {
      do { return try OptimizerChoice(parsing: $0) } catch { throw ValidationError("\(error)") }
    }
    guard Set(values).count == values.count else { throw ValidationError("'\(text)' has an optimizer twice") }
  }
}

/// Numbers separated by commas; different ones unless told otherwise.
struct GridList<Value: LosslessStringConvertible & Hashable & Sendable>: Sendable {
  let values: [Value]

  init(
    parsing text: String, _ kind: String, mayRepeat: Bool = false, where fits: (Value) -> Bool
  ) throws {
    values = try commaSeparated(text).map {
      guard let value = Value($0), fits(value) else {
        throw ValidationError("'\($0)' is not \(kind); give a list such as 1,4")
      }
      return value
    }
    guard mayRepeat || Set(values).count == values.count else {
      throw ValidationError("'\(text)' has a number twice")
    }
  }
}

/// The parts of a list, without spaces around them; an empty one is an error.
func commaSeparated(_ text: String) throws -> [String] {
  try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
    let word = String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    guard !word.isEmpty else { throw ValidationError("'\(text)' has an empty part; separate by single commas") }
    return word
  }
}
