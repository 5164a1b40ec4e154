import ArgumentParser
import Foundation

@main
struct Fuzz: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "norma-fuzz",
    abstract: "Feed the readers with broken files, to see that each ends in an error that says what is wrong.",
    subcommands: [Run.self, Replay.self, Worker.self], defaultSubcommand: Run.self)
}

/// What one input may cost.
struct Limits: ParsableArguments {
  @Option(help: "Seconds of processor time for one input.") var seconds = 5
  @Option(help: "MiB of memory that the process may hold after an input; seeds are small, so readers need little.")
  var memory = 512
  @Option(help: "MiB of address space; 0 is no limit, which address sanitizers need.") var addressSpace = 8192

  var arguments: [String] {
    ["--seconds", "\(seconds)", "--memory", "\(memory)", "--address-space", "\(addressSpace)"]
  }
}

extension Fuzz {
  struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make broken files and read them; every finding is kept.")

    @Argument(help: "What to fuzz (\(fuzzTargets.map(\.name).joined(separator: ", "))); nothing stands for all.")
    var targets: [String] = []
    @Option(help: "Inputs for each target.") var count = 3000
    @Option(help: "Go on for so many minutes instead.") var minutes: Double?
    @Option(help: "Determines every input together with its number.") var seed: UInt64 = 1
    @Option(help: "The number of the first input.") var from = 0
    @Option(help: "The folder of the seeds.") var corpus = "Tests/Corpus"
    @Option(help: "Where inputs with findings are kept.") var findings = ".build/fuzz-findings"
    @OptionGroup var limits: Limits

    func validate() throws {
      guard count > 0, from >= 0, minutes ?? 1 > 0 else { throw ValidationError("counts and minutes must be positive") }
    }

    func run() throws {
      let chosen = try targets.isEmpty ? fuzzTargets : targets.map { try FuzzTarget.named($0) }
      let end = minutes.map { ContinuousClock.now + .seconds($0 * 60) }
      var tallies = chosen.map { _ in Tally() }
      var next = chosen.map { _ in from }
      repeat {
        for (index, target) in chosen.enumerated() {
          // Processes are renewed now and then, so that what one input leaves behind is not laid to another.
          let stop = end == nil ? from + count : next[index] + 1000
          while next[index] < stop {
            let range = next[index]..<min(stop, next[index] + 1000)
            next[index] = try pass(target, range, into: &tallies[index])
          }
        }
      } while end.map { ContinuousClock.now < $0 } ?? false
      for (target, tally) in zip(chosen, tallies) { print("\(target.name): \(tally)") }
      if tallies.contains(where: { !$0.findings.isEmpty }) { throw ExitCode.failure }
    }

    /// Runs a process over a range of inputs and returns the number of the input to go on with.
    private func pass(_ target: FuzzTarget, _ range: Range<Int>, into tally: inout Tally) throws -> Int {
      let scratch = try ScratchFolder()
      let outcome = try Worker.launch(
        [
          target.name, "--corpus", corpus, "--seed", "\(seed)", "--from", "\(range.lowerBound)", "--count",
          "\(range.count)",
        ]
          + ["--scratch", scratch.path] + limits.arguments)
      // A process that ends early leaves the input that it was reading.
      guard let left = try FileManager.default.contentsOfDirectory(atPath: scratch.path).first, let number = Int(left)
      else {
        guard case .finished = outcome.end else { throw ValidationError("the process for \(target.name) \(outcome)") }
        tally.add(outcome.text, count: range.count)
        return range.upperBound
      }
      try FileManager.default.createDirectory(atPath: findings, withIntermediateDirectories: true)
      let kept = "\(findings)/\(target.name)-\(outcome.end.name)-\(seed)-\(number)"
      try? FileManager.default.removeItem(atPath: kept)
      try FileManager.default.moveItem(atPath: scratch.path + "/" + left, toPath: kept)
      tally.inputs += number + 1 - range.lowerBound
      tally.findings.append(kept)
      print("\(target.name): input \(number) of seed \(seed) \(outcome)\n  kept as \(kept)")
      return number + 1
    }
  }

  struct Replay: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Read files again, such as those that were kept.")

    @Argument(help: "Files; their names begin with the target's and a '-'.") var files: [String]
    @Option(help: "The target, where the names do not tell.") var target: String?
    @OptionGroup var limits: Limits

    func run() throws {
      var isClean = true
      for file in files {
        let name = target ?? String(URL(fileURLWithPath: file).lastPathComponent.prefix { $0 != "-" })
        let outcome = try Worker.launch([FuzzTarget.named(name).name, "--file", file] + limits.arguments)
        print("\(file): \(outcome)")
        if case .finished = outcome.end {} else { isClean = false }
      }
      if !isClean { throw ExitCode.failure }
    }
  }
}

/// What became of the inputs of a target.
private struct Tally: CustomStringConvertible {
  var inputs = 0
  var findings: [String] = []
  private var read = 0
  private var refused = 0
  private var reasons: Set<Substring> = []

  /// Takes what ``Worker`` wrote: how many were read, how many refused, and the reasons.
  mutating func add(_ text: String, count: Int) {
    let lines = text.split(separator: "\n")
    let numbers = lines.first?.split(separator: " ").compactMap { Int($0) } ?? []
    inputs += count
    read += numbers.first ?? 0
    refused += numbers.last ?? 0
    reasons.formUnion(lines.dropFirst())
  }

  var description: String {
    "\(inputs) inputs, \(read) read, \(refused) refused for \(reasons.count) kinds of reasons, \(findings.count) findings"
  }
}

extension FuzzTarget {
  static func named(_ name: String) throws -> FuzzTarget {
    guard let target = (fuzzTargets + [plantedTarget]).first(where: { $0.name == name }) else {
      throw ValidationError(
        "there is no target '\(name)'; there are \(fuzzTargets.map(\.name).joined(separator: ", "))")
    }
    return target
  }
}

/// A folder that is removed with what is in it.
private final class ScratchFolder {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("norma-fuzz-\(UUID().uuidString)").path

  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
