import ArgumentParser
import NormaNormalization
import NormaTensor

struct InfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info", abstract: "Show what this machine computes with.")

  func run() throws {
    try Runtime.check()
    let set = try InstructionSet.current.get()
    let sets = InstructionSet.available.map(\.description)
    print("norma \(Norma.version), libtorch \(Runtime.version)")
    print("Threads of one operator: \(Runtime.threads)")
    print("Instruction set of the normalization kernels: \(set)")
    print("This processor can run: \(sets.joined(separator: ", ")) (choose with \(InstructionSet.variable))")
  }
}
