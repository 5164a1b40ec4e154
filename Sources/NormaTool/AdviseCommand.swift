#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import ArgumentParser
import NormaNormalization
import NormaRecords
import NormaReport

struct AdviseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "advise", abstract: "Say which normalization to start with for a task and batch size, and why.",
    discussion: """
      The advice follows from recorded results, which are printed with their sources; it trains nothing. It ends with the \
      command that checks it on your own data.
      """)

  @Option(
    help: ArgumentHelp(
      "Samples that statistics can be taken over: those of one step on one device.", valueName: "count"))
  var batchSize: Int

  @Option(help: "segmentation, classification, detection, style-transfer, sequence or generation.")
  var task: AdvisedTask

  @Option(
    help: ArgumentHelp(
      "Height and width of the training images; tells the memory that the U-Net needs.", valueName: "pixels"))
  var size: Int?

  @Option(
    help: ArgumentHelp(
      "Memory for training, such as 8GB or 512MiB; tells what fits. (without --size: for 512)", valueName: "amount"),
    transform: { try MemoryAmount(parsing: $0) })
  var memory: MemoryAmount?

  @Flag(help: "Print one JSON object instead of text.")
  var json = false

  func validate() throws {
    guard (1...65_536).contains(batchSize) else {
      throw ValidationError("--batch-size must be in 1…65536, got \(batchSize).")
    }
    if let size, !(16...65_536).contains(size) || size % 16 != 0 {
      throw ValidationError("--size must be a multiple of 16 in 16…65536, got \(size).")
    }
  }

  func run() throws {
    let advice = Advice(task: task, batchSize: batchSize)
    let plan = size == nil && memory == nil ? nil : MemoryPlan(size: size ?? 512, batchSize: batchSize, limit: memory)
    let record = AdviceRecord(advice, plan)
    print(json ? try jsonText(of: record) : record.text)
  }
}

extension AdvisedTask: ExpressibleByArgument {}

/// An amount of memory as a person writes it.
struct MemoryAmount: Encodable, Equatable {
  let bytes: Double
  let text: String

  init(parsing text: String) throws {
    self.text = text
    let units: [(String, Double)] = [
      ("gib", 1_073_741_824), ("mib", 1_048_576), ("gb", 1e9), ("mb", 1e6), ("g", 1e9), ("m", 1e6),
    ]
    let lower = text.lowercased()
    guard let unit = units.first(where: { lower.hasSuffix($0.0) }),
      let number = Double(lower.dropLast(unit.0.count)), number > 0, number * unit.1 >= 1e6, number * unit.1 < 1e15
    else { throw ValidationError("'\(text)' is no amount of memory; give a number and a unit, such as 8GB or 512MiB") }
    bytes = number * unit.1
  }
}

/// What to start with.
struct Advice {
  struct Choice: Encodable, Equatable {
    let norm: String
    let why: String
  }

  let task: AdvisedTask
  let batchSize: Int
  let start: Choice
  let alternative: Choice
  let avoid: Choice
  let evidence: [Evidence]

  init(task: AdvisedTask, batchSize: Int) {
    self.task = task
    self.batchSize = batchSize
    evidence = Evidence.about(task, batchSize: batchSize)
    switch task {
    case .styleTransfer:
      start = Choice(norm: "instance", why: "contrast and style of the content image shall not get through")
      alternative = Choice(
        norm: Self.group, why: "keeps some of what channels tell about each other, if contents suffer")
      avoid = Choice(
        norm: "batch", why: "it mixes the statistics of different pictures, and of other ones in use than in training")
    case .sequence:
      start = Choice(
        norm: "layer",
        why:
          "the same in training and evaluation, whatever the batch size; in code ElementwiseLayerNorm, over the features of a single step (the layer of this name also pools the positions of [N, C, L])"
      )
      alternative = Choice(
        norm: "rms", why: "the same without the mean: less work, about as good; in code ElementwiseRMSNorm")
      avoid = Choice(norm: "batch", why: "its statistics would differ by time step and length of the sequences")
    case .generation:
      start = Choice(norm: Self.group, why: "every sample is made by itself, whatever the batch size")
      alternative = Choice(norm: "instance", why: "where style matters more than content")
      avoid = Choice(norm: "batch", why: "what is generated would depend on the other samples of the batch")
    case .segmentation, .classification, .detection:
      switch batchSize {
      case 1:
        start = Choice(norm: Self.group, why: "does not depend on the batch size")
        alternative = Choice(
          norm: "switchable:instance+layer",
          why: "without the batch branch, which is the instance one for 1 sample"
            + (task == .segmentation ? "; no difference to group could be shown over five seeds here" : ""))
        avoid = Choice(norm: "batch", why: "statistics of a single sample in training, running ones in evaluation")
      case 2..<8:
        start = Choice(norm: Self.group, why: "does not depend on the batch size, where batch loses most")
        alternative = Choice(norm: "switchable", why: "finds the mix by itself, and came close to group at this size")
        avoid = Choice(norm: "batch", why: "noisy statistics; batch:renorm if it must be batch")
      case 8..<16:
        let learns = Choice(
          norm: "switchable", why: "ahead of both group and batch at 8 and 16 samples in one published comparison")
        let steady = Choice(norm: Self.group, why: "does not depend on the batch size, one thing less to go wrong")
        (start, alternative) = task == .classification ? (learns, steady) : (steady, learns)
        avoid = Choice(norm: "instance", why: "takes the channels' means away, which tell what is seen")
      default:
        start = Choice(
          norm: "batch", why: "enough samples for its statistics, and it folds into convolutions for evaluation")
        alternative =
          batchSize >= 128
          ? Choice(
            norm: "batch:ghost=32", why: "statistics over parts of a large batch, against its generalization gap")
          : task == .classification
            ? Choice(
              norm: "switchable", why: "slightly ahead of batch in one published comparison, for the same time per step"
            )
            : Choice(norm: Self.group, why: "the same at any batch size, in fine-tuning and evaluation too")
        avoid = Choice(norm: "instance", why: "takes the channels' means away, which tell what is seen")
      }
    }
  }

  /// Eight groups: plain `group` has one channel per group in the levels of up to 32 channels, which is instance normalization.
  private static let group = "group:8"

  /// The norms that a check should train: the advice, and what it must beat.
  var normsToCompare: [String] {
    var seen: Set<String> = []
    return [start.norm, alternative.norm, "batch", "none"].filter { seen.insert($0).inserted }
  }
}

/// Which widths of the U-Net fit a memory.
struct MemoryPlan: Encodable {
  struct Row: Encodable {
    let width: Int
    let dtype: String
    let memory: String
    /// Live tensors at the peak of a step.
    let tensorBytes: Double
    /// Bound for the process.
    let processBytes: Double
    let fits: Bool?
  }

  static let widths = [8, 16, 32, 64, 128]
  typealias Kind = (dtype: TrainingCommandOptions.ActivationType, memory: TrainingCommandOptions.MemoryUse)
  /// What is tried, the most exact and fastest first.
  static let kinds: [Kind] = [(.float32, .standard), (.float32, .low), (.bfloat16, .standard), (.bfloat16, .low)]

  let size: Int
  let batchSize: Int
  let limit: MemoryAmount?
  let rows: [Row]
  /// The largest crop that fits at the smallest width with the least memory, when nothing of the asked size does.
  let largestCrop: Int?

  init(size: Int, batchSize: Int, limit: MemoryAmount?) {
    self.size = size
    self.batchSize = batchSize
    self.limit = limit
    func estimate(_ width: Int, _ kind: Kind, size: Int) -> MemoryEstimate {
      MemoryEstimate(width: width, size: size, batchSize: batchSize, dtype: kind.dtype, memory: kind.memory)
    }
    rows = Self.widths.flatMap { width in
      Self.kinds.map { kind in
        let found = estimate(width, kind, size: size)
        return Row(
          width: width, dtype: kind.dtype.rawValue, memory: kind.memory.rawValue, tensorBytes: found.peakBytes,
          processBytes: found.processBytes, fits: limit.map { found.processBytes <= $0.bytes })
      }
    }
    if let limit, !rows.contains(where: { $0.fits == true }) {
      largestCrop = stride(from: size - 16, through: 16, by: -16).first {
        estimate(Self.widths[0], Self.kinds[3], size: $0).processBytes <= limit.bytes
      }
    } else {
      largestCrop = nil
    }
  }

  /// What the check trains: the README's width of 16 or the largest below it that fits, in the first kind that does.
  var choice: Row? {
    let suitable = rows.filter { $0.width <= 16 && $0.fits != false }
    return suitable.max { a, b in (a.width, -rank(a)) < (b.width, -rank(b)) }
  }

  private func rank(_ row: Row) -> Int {
    Self.kinds.firstIndex { $0.dtype.rawValue == row.dtype && $0.memory.rawValue == row.memory } ?? 0
  }

  var text: String {
    let header = ["width"] + Self.kinds.map { $0.dtype.rawValue + ($0.memory == .low ? " low" : "") }
    let lines = Self.widths.map { width in
      ["\(width)"]
        + rows.filter { $0.width == width }.map { row in
          let mark = row.fits.map { $0 ? " ✓" : " –" } ?? ""
          return Self.amount(row.tensorBytes) + mark
        }
    }
    let mark = limit.map { "\n✓: 1.25 times that and 350 MiB, the bound for the process, fit \($0.text)" } ?? ""
    var text = """
      Memory: live tensors at the peak of a training step of the U-Net, \(batchSize) × \(size)×\(size), estimated\(mark)

      \(textTable(header: header, rows: lines))

      low is --memory low, bfloat16 is --dtype bfloat16. The estimate follows from the layers'
      shapes; it was within 6 % of what norma bench step measures in float32, and 15 % in
      bfloat16. Validation takes whole slices; where they are much larger than the crops, it may
      need more.
      """
    if limit != nil, !rows.contains(where: { $0.fits == true }) {
      text += "\nNothing fits. "
      text +=
        largestCrop.map { "At width \(Self.widths[0]) with both options crops of \($0) would." }
        ?? "No smaller crop would either; use fewer samples."
    }
    return text
  }

  static func amount(_ bytes: Double) -> String {
    bytes < 1e15 ? NormaReport.bytes(Int(bytes)) : "over 900 TiB"
  }
}

/// What `norma advise` prints with --json.
struct AdviceRecord: Encodable {
  let schemaVersion = 1
  let task: AdvisedTask
  let batchSize: Int
  let start: Advice.Choice
  let alternative: Advice.Choice
  let avoid: Advice.Choice
  let evidence: [Evidence]
  let memory: MemoryPlan?
  /// Arguments of the check, after `norma`; nil when nothing fits.
  let command: [String]?
  let limits: [String]

  init(_ advice: Advice, _ plan: MemoryPlan?) {
    task = advice.task
    batchSize = advice.batchSize
    (start, alternative, avoid) = (advice.start, advice.alternative, advice.avoid)
    evidence = advice.evidence
    memory = plan
    var limits = [String]()
    if !evidence.contains(where: { $0.origin == .measured }) {
      limits.append("Nothing of this was measured by this project, which has measured segmentation by U-Nets.")
    }
    switch task {
    case .segmentation: break
    case .classification, .styleTransfer:
      limits.append(
        "norma compare trains \(task == .classification ? "AlexNet" : "one feed-forward network"): other networks for your task may answer "
          + "otherwise.")
    case .detection, .generation, .sequence:
      limits.append(
        "norma compare has no network for this task: the check, segmentation by a U-Net, shows how the norms bear your batch size."
      )
    }
    if plan != nil, task != .segmentation { limits.append("The memory is that of U-Nets.") }
    limits.append("Your data decide: compare more than one --seed before you believe a small difference.")
    self.limits = limits
    command = Self.command(advice, plan)
  }

  private static func command(_ advice: Advice, _ plan: MemoryPlan?) -> [String]? {
    let common = ["--norms", advice.normsToCompare.joined(separator: ","), "--batch-size", "\(advice.batchSize)"]
    switch advice.task {
    case .classification: return ["compare", "--model", "alexnet", "--images", "FOLDER"] + common
    case .styleTransfer:
      return ["compare", "--model", "style", "--content", "FOLDER", "--styles", "picture.png"] + common
    default: break
    }
    var arguments = ["compare", "--images", "images.tif", "--labels", "labels.tif"] + common
    var (crop, width, options) = (256, 16, [String]())
    if let plan {
      if let row = plan.choice {
        (crop, width) = (plan.size, row.width)
        if row.memory == "low" { options += ["--memory", "low"] }
        if row.dtype == "bfloat16" { options += ["--dtype", "bfloat16"] }
      } else if let largest = plan.largestCrop {
        (crop, width) = (largest, MemoryPlan.widths[0])
        options = ["--memory", "low", "--dtype", "bfloat16"]
      } else {
        return nil
      }
    }
    arguments += ["--crop", "\(crop)", "--width", "\(width)"]
    return arguments + options
  }

  var text: String {
    func lines(_ text: String, _ width: Int, first: String, rest: String) -> String {
      wrapped(text, width).enumerated().map { ($0 == 0 ? first : rest) + $1 }.joined(separator: "\n")
    }
    func choice(_ label: String, _ choice: Advice.Choice) -> String {
      let head = label + String(repeating: " ", count: 14 - label.count)
      let indent = String(repeating: " ", count: 16)
      return "  \(head)\(choice.norm)\n" + lines(choice.why, 84, first: indent, rest: indent)
    }
    let facts = evidence.enumerated().map { index, item in
      let number = "[\(index + 1)] "
      let indent = String(repeating: " ", count: number.count + 2)
      return lines(item.statement, 94, first: "  " + number, rest: indent) + "\n"
        + lines(
          "\(item.origin == .measured ? "Measured" : "Published"): \(item.source); \(item.conditions)", 94,
          first: indent + "— ", rest: indent + "  ")
    }
    let shown = command.map { "  norma " + $0.joined(separator: " ") } ?? "  (nothing fits the memory)"
    return """
      \(task.rawValue) with \(batchSize) sample\(batchSize == 1 ? "" : "s") per step

      \(choice("start with", start))
      \(choice("alternative", alternative))
      \(choice("avoid", avoid))

      Why

      \(facts.joined(separator: "\n"))\(memory.map { "\n\n" + $0.text } ?? "")

      Limits

      \(limits.map { lines($0, 94, first: "  ", rest: "  ") }.joined(separator: "\n"))

      Check it on your data (replace the paths)

      \(shown)
      """
  }
}
